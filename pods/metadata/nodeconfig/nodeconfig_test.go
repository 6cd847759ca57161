package nodeconfig

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kios/pods/metadata/bounded"
	"kios/pods/metadata/eks"
	"kios/pods/metadata/want"
	"kios/test/lab"
)

var certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("a CA")})

const head = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n"

// inCluster is a cluster with the services in a range.
func inCluster(cidr string) string {
	return head + "  cluster:\n    name: dev\n    apiServerEndpoint: https://abc.eks.amazonaws.com\n    cidr: " + cidr +
		"\n    certificateAuthority: " + base64.StdEncoding.EncodeToString(certificate) + "\n"
}

// machine is one with addresses of both families.
func machine() *want.Machine {
	return &want.Machine{Type: "m5.large", ProviderID: "aws:///eu-west-1a/i-0abc", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("2001:db8::7")}}
}

// collect returns the node of NodeConfigs, on a machine with four processors.
func collect(t *testing.T, m *want.Machine, texts ...string) *want.Node {
	t.Helper()
	c := &Collector{Root: fourProcessors(t)}
	return finish(t, c, m, texts...)
}

func finish(t *testing.T, c *Collector, m *want.Machine, texts ...string) *want.Node {
	t.Helper()
	var n want.Node
	for _, text := range texts {
		lab.Must(t, c.Read([]byte(text), m, &n))
	}
	lab.Must(t, c.Finish(m, &n))
	return &n
}

func fourProcessors(t *testing.T) string {
	root := t.TempDir()
	lab.Must(t, os.MkdirAll(filepath.Join(root, "sys/devices/system/cpu"), 0o755))
	lab.WriteFile(t, filepath.Join(root, "sys/devices/system/cpu/online"), "0-2,5\n")
	return root
}

// fields compares what may be of types of Go with what a file would have.
func fields(t *testing.T, got map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(got)
	lab.Must(t, err)
	var all map[string]any
	lab.Must(t, json.Unmarshal(text, &all))
	return all
}

// file returns the text of the last file of that name.
func file(n *want.Node, path string) string {
	for _, f := range slices.Backward(n.Files) {
		if f.Path == path {
			return string(f.Content)
		}
	}
	return ""
}

// The values are those that nodeadm makes on an m5.large with four processors.
func TestDerived(t *testing.T) {
	n := collect(t, machine(), inCluster("172.20.0.0/16"))
	kubelet := map[string]any{
		"clusterDNS":                      []any{"172.20.0.10"},
		"clusterDomain":                   "cluster.local",
		"serverTLSBootstrap":              true,
		"rotateCertificates":              false,
		"maxPods":                         29.,
		"kubeReserved":                    map[string]any{"cpu": "80m", "memory": "574Mi", "ephemeral-storage": "1Gi"},
		"evictionHard":                    map[string]any{"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%"},
		"shutdownGracePeriod":             "2m30s",
		"shutdownGracePeriodCriticalPods": "30s",
		"providerID":                      "aws:///eu-west-1a/i-0abc",
	}
	if diff := cmp.Diff(kubelet, fields(t, n.Kubelet)); diff != "" {
		t.Errorf("kubelet (-want +got):\n%s", diff)
	}
	join := &want.Join{Server: "https://abc.eks.amazonaws.com", CA: certificate, TokenFile: "/run/kios/aws/token"}
	if diff := cmp.Diff(join, n.Join); diff != "" {
		t.Errorf("join (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"--cloud-provider=external", "--node-ip=10.0.0.7"}, n.Flags); diff != "" || n.EKS.Cluster != "dev" || n.EKS.InstanceIDName || n.Skipped != nil {
		t.Errorf("flags %q, EKS %+v, skipped %q", n.Flags, n.EKS, n.Skipped)
	}
	if file(n, "/etc/kios/network.yaml") == "" || file(n, "/etc/kubernetes/credential-providers.yaml") == "" {
		t.Errorf("files: %+v", n.Files)
	}
}

func TestIPv6(t *testing.T) {
	n := collect(t, machine(), inCluster("fd30:1c53:5f8a::/108"))
	if dns := n.Kubelet["clusterDNS"]; !cmp.Equal(dns, []any{"fd30:1c53:5f8a::a"}) || !slices.Contains(n.Flags, "--node-ip=2001:db8::7") {
		t.Errorf("DNS %v, flags %q", dns, n.Flags)
	}
	m := machine()
	m.Addresses = m.Addresses[:1]
	if n := collect(t, m, inCluster("fd30:1c53:5f8a::/108")); len(n.Skipped) != 1 || len(n.Flags) != 1 {
		t.Errorf("without an address: %q, %q", n.Skipped, n.Flags)
	}
}

func TestClusterDNS(t *testing.T) {
	tests := []struct{ cidr, want string }{
		{"10.100.0.0/16", "10.100.0.10"}, {"192.168.4.128/25", "192.168.4.10"}, {"fd00:1:2:3:4:5:6:0/112", "fd00:1:2:3:4:5:6:a"},
		{"10.100.0.0", ""}, {"dev", ""}, {"10.100.0.0/99", ""}, {"fd00::12345/64", ""}, {"1:2:3:4:5:6:7:1234/64", ""}, {"", ""},
	}
	for _, tt := range tests {
		got, err := clusterDNS(tt.cidr)
		if (err == nil) != (tt.want != "") || err == nil && got != netip.MustParseAddr(tt.want) {
			t.Errorf("clusterDNS(%q) = %s, %v, want %s", tt.cidr, got, err, tt.want)
		}
	}
}

func TestReservedCPU(t *testing.T) {
	// As nodeadm's own tests and machines have them.
	for processors, want := range map[int]int{1: 60, 2: 70, 3: 75, 4: 80, 8: 90, 64: 230, 96: 310} {
		if got := reservedCPU(processors); got != want {
			t.Errorf("reservedCPU(%d) = %d, want %d", processors, got, want)
		}
	}
	for list, want := range map[string]int{"0": 1, "0-7": 8, "0-3,8-11,16": 9, "": 0, "a": 0, "3-1": 0, "0-99999": 0, "0,": 0} {
		if got := countRanges(list); got != want {
			t.Errorf("countRanges(%q) = %d, want %d", list, got, want)
		}
	}
	if got := (&Collector{Root: t.TempDir()}).processors(); got != runtime.NumCPU() {
		t.Errorf("without a list, %d processors", got)
	}
}

func TestMaxPods(t *testing.T) {
	tests := []struct {
		name, text, machine string
		pods                float64
		memory              string
		skipped             int
	}{
		{"the table", "", "m5.large", 29, "574Mi", 0},
		{"too small for the node's own pods", "", "t3.nano", 8, "299Mi", 0},
		{"an expression that is, too", "maxPodsExpression: max_pods - 24", "m5.large", 8, "310Mi", 1},
		{"an expression", "maxPodsExpression: '((default_enis - 1) * (ips_per_eni - 1)) + 2'", "m5.large", 20, "475Mi", 0},
		{"a limit", "maxPodsExpression: 'max_pods < 20 ? max_pods : 20'", "m5.large", 20, "475Mi", 0},
		{"a bad one", "maxPodsExpression: '99 - fake_variable'", "m5.large", 29, "574Mi", 1},
		{"none", "maxPodsExpression: 'max_pods - 29'", "m5.large", 29, "574Mi", 1},
		{"too many", "maxPodsExpression: 'max_pods * 2147483647'", "m5.large", 29, "574Mi", 1},
		{"the configuration", "config: {maxPods: 50}\n    maxPodsExpression: max_pods + 1", "m5.large", 50, "585Mi", 0},
		{"a new type", "maxPodsExpression: max_pods + 1", "m99.large", 110, "1465Mi", 0},
		{"no type", "", "", 110, "1465Mi", 0},
	}
	for _, tt := range tests {
		m := machine()
		m.Type = tt.machine
		n := collect(t, m, inCluster("10.100.0.0/16")+"  kubelet:\n    flags: []\n    "+tt.text+"\n")
		k := fields(t, n.Kubelet)
		if k["maxPods"] != tt.pods || k["kubeReserved"].(map[string]any)["memory"] != tt.memory || len(n.Skipped) != tt.skipped {
			t.Errorf("%s: %v pods, %v, skipped %q", tt.name, k["maxPods"], k["kubeReserved"], n.Skipped)
		}
	}
}

// A type that is newer than the table is asked for.
func TestTypeInfo(t *testing.T) {
	m := machine()
	m.Type = "m99.large"
	asked := ""
	c := &Collector{Root: fourProcessors(t), TypeInfo: func(name string) (eks.Limits, error) { asked = name; return eks.Limits{ENIs: 4, IPs: 15}, nil }}
	if n := finish(t, c, m, inCluster("10.100.0.0/16")); n.Kubelet["maxPods"] != 58 || asked != "m99.large" {
		t.Errorf("maxPods %v, asked for %q", n.Kubelet["maxPods"], asked)
	}
	c = &Collector{Root: fourProcessors(t), TypeInfo: func(string) (eks.Limits, error) { return eks.Limits{}, errors.New("not authorized") }}
	if n := finish(t, c, m, inCluster("10.100.0.0/16")); n.Kubelet["maxPods"] != 110 || len(n.Skipped) != 1 || !strings.Contains(n.Skipped[0], "not authorized") {
		t.Errorf("maxPods %v, skipped %q", n.Kubelet["maxPods"], n.Skipped)
	}
}

// Later ones count, flags follow each other, maps are merged, and lists are replaced.
func TestMerge(t *testing.T) {
	first := head + `  cluster: {name: old, apiServerEndpoint: https://old, certificateAuthority: cluster-ca, clusterEndpoint: x}
  kubelet:
    config: {maxPods: 42, featureGates: {A: true, B: true}, evictionHard: {memory.available: 5%}, clusterDNS: [10.0.0.1], kubeReserved: null, allowedUnsafeSysctls: [a, b]}
    flags: [--node-labels=a=1, --v=2]
  containerd: {config: "[plugins]\n"}
  instance: {environment: {default: {A: 1, B: "1"}}, network: {nameservers: [10.0.0.2, 10.0.0.3]}}
  featureGates: {InstanceIdNodeName: true}
`
	second := inCluster("10.100.0.0/16") + `  kubelet:
    config: {featureGates: {B: false}, clusterDNS: [10.0.0.9], allowedUnsafeSysctls: [c]}
    flags: [--node-labels=b=2]
  containerd: {config: "[debug]\n", baseRuntimeSpec: {process: {}}}
  instance: {environment: {default: {B: "2"}}, network: {nameservers: [10.0.0.4], domains: [example.com, ~corp]}}
`
	n := collect(t, machine(), first, second)
	k := fields(t, n.Kubelet)
	for name, want := range map[string]any{
		"maxPods": 42., "featureGates": map[string]any{"A": true, "B": false}, "clusterDNS": []any{"10.0.0.9"}, "kubeReserved": nil, "allowedUnsafeSysctls": []any{"c"},
		"evictionHard": map[string]any{"memory.available": "5%", "nodefs.available": "10%", "nodefs.inodesFree": "5%"},
	} {
		if diff := cmp.Diff(want, k[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, there := k["kubeReserved"]; there {
		t.Errorf("null leaves kubeReserved %v", k["kubeReserved"])
	}
	want := &want.Node{
		Flags: []string{"--cloud-provider=external", "--node-ip=10.0.0.7", "--node-labels=a=1", "--v=2", "--node-labels=b=2"}, Containerd: []string{"[plugins]\n", "[debug]\n"},
		Environment: map[string]string{"A": "1", "B": "2"}, Nameservers: []netip.Addr{netip.MustParseAddr("10.0.0.4")}, Search: []string{"example.com"},
		EKS: &want.EKS{Cluster: "dev", InstanceIDName: true}, Join: n.Join, Files: n.Files, Kubelet: n.Kubelet, Skipped: n.Skipped,
	}
	if diff := cmp.Diff(want, n, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
	if n.Join.Server != "https://abc.eks.amazonaws.com" || len(n.Skipped) != 3 {
		t.Errorf("server %s, skipped %q", n.Join.Server, n.Skipped)
	}
}

// The words are those that systemd makes of a line of an EnvironmentFile.
func TestFlags(t *testing.T) {
	tests := []struct {
		flags string // as YAML
		want  []string
	}{
		{`['--node-labels="a=b,c/d=e"']`, []string{"--node-labels=a=b,c/d=e"}},
		{`["--node-labels=a=1", "--node_labels", "a=2,b="]`, []string{"--node-labels=a=1", "--node-labels=a=2,b="}},
		{`["--v=5 --max-pods=20"]`, []string{"--v=5", "--max-pods=20"}},
		{`["-v=5", "--x", "--y", "z w"]`, []string{"--v=5", "--x=true", "--y=z", "--w=true"}},
		{`["--a='b c' --d=\\\\\\\\e"]`, []string{"--a=b c", `--d=\e`}},
		{`["--a=\"b", "c"]`, []string{"--a=b c"}},
		{`["--a=''", "--b=\"\" --c"]`, []string{"--a=", "--b=", "--c=true"}},
		{`["\n--a=1\r\n"]`, []string{"--a=1"}},
		{`["--cloud-provider", "external", "--node-ip=10.9.9.9"]`, []string{"--cloud-provider=external", "--node-ip=10.9.9.9"}},
		{`["--cloud-provider=aws"]`, nil},
	}
	for _, tt := range tests {
		n := collect(t, machine(), inCluster("10.100.0.0/16")+"  kubelet: {flags: "+tt.flags+"}\n")
		if diff := cmp.Diff(tt.want, slices.Clip(n.Flags[2:]), cmpopts.EquateEmpty()); diff != "" || (tt.want == nil) != (n.Skipped != nil) {
			t.Errorf("%s: skipped %q (-want +got):\n%s", tt.flags, n.Skipped, diff)
		}
	}
}

func TestInstance(t *testing.T) {
	tests := []struct{ text, disks, skipped string }{
		{"localStorage: {}", "", ""},
		{"localStorage: {strategy: RAID0}", "striped", ""},
		{"localStorage: {strategy: RAID10}", "striped", "without copies"},
		{"localStorage: {strategy: Mount}", "one", "left alone"},
		{"localStorage: {strategy: RAID5}", "", `"RAID5" is unknown`},
		{"localStorage: {strategy: RAID0, mountPath: /mnt/x, disabledMounts: [PodLogs]}", "striped", "mountPath and disabledMounts"},
		{"environment: {kubelet: {A: x}, containerd: {A: y}}", "", "environment.kubelet.A is not used"},
		{"environment: {kubelet: {A: x}, sshd: {A: y}}", "", "environment.sshd is not used"},
		{"network: {nameservers: [dns.example.com]}", "", `"dns.example.com" is not an address`},
	}
	for _, tt := range tests {
		n := collect(t, machine(), inCluster("10.100.0.0/16")+"  instance:\n    "+tt.text+"\n")
		if got := strings.Join(n.Skipped, "\n"); n.DataDisks != tt.disks || (tt.skipped == "") != (got == "") || !strings.Contains(got, tt.skipped) {
			t.Errorf("%s: disks %q, skipped %q", tt.text, n.DataDisks, got)
		}
	}
}

func TestOutpost(t *testing.T) {
	n := collect(t, machine(), inCluster("10.100.0.0/16"), head+"  cluster: {enableOutpost: true, id: 1234}\n  featureGates: {FastImagePull: true, New: true}\n")
	if n.EKS.Cluster != "1234" || len(n.Skipped) != 3 {
		t.Errorf("EKS %+v, skipped %q", n.EKS, n.Skipped)
	}
}

func TestDropIns(t *testing.T) {
	c := &Collector{Root: fourProcessors(t)}
	dir := filepath.Join(c.Root, dropIns)
	lab.Must(t, os.MkdirAll(filepath.Join(dir, "directory.yaml"), 0o755))
	for name, text := range map[string]string{
		"10.yaml": head + "  cluster: {name: ten}\n  kubelet: {flags: [--v=1]}\n", "20.JSON": `{"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": {"cluster": {"name": "twenty"}}}`,
		"30.yml": "- bad\n", "40.conf": head + "  cluster: {name: forty}\n",
	} {
		lab.WriteFile(t, filepath.Join(dir, name), text)
	}
	n := new(want.Node)
	lab.Must(t, c.Read([]byte(inCluster("10.100.0.0/16")+"  kubelet: {flags: [--v=0]}\n"), machine(), n))
	// A mistake in one is an error, and the others count.
	if err := c.Finish(machine(), n); err == nil || !strings.HasPrefix(err.Error(), "/etc/eks/nodeadm.d/30.yml: ") {
		t.Errorf("Finish = %v", err)
	}
	if n.EKS.Cluster != "twenty" || !slices.Equal(n.Flags[2:], []string{"--v=0", "--v=1"}) || len(n.Skipped) != 0 {
		t.Errorf("cluster %s, flags %q, skipped %q", n.EKS.Cluster, n.Flags, n.Skipped)
	}
	// They do not make a node of EKS of another one.
	if n := finish(t, &Collector{Root: c.Root}, machine()); n.EKS != nil || n.Join != nil || n.Skipped != nil {
		t.Errorf("without user data: %+v", n)
	}
}

func TestTooManyDropIns(t *testing.T) {
	c := &Collector{Root: t.TempDir()}
	dir := filepath.Join(c.Root, dropIns)
	lab.Must(t, os.MkdirAll(dir, 0o755))
	for i := range maxDropIns + 6 {
		lab.WriteFile(t, filepath.Join(dir, fmt.Sprintf("%03d.yaml", i)), head)
	}
	if n := finish(t, c, machine(), inCluster("10.100.0.0/16")); len(n.Skipped) != 1 || !strings.Contains(n.Skipped[0], "064.yaml") {
		t.Errorf("skipped %q", n.Skipped)
	}
}

// All that is missing is named at once, and nothing has been done by then.
func TestRequired(t *testing.T) {
	tests := []struct{ text, want string }{
		{head, "it lacks spec.cluster.name, spec.cluster.apiServerEndpoint, spec.cluster.certificateAuthority, spec.cluster.cidr: aws eks describe-cluster"},
		{"apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\n", "it lacks spec.cluster.name"},
		{inCluster("''"), "it lacks spec.cluster.cidr:"},
		{inCluster("10.0.0.0/16") + "    enableOutpost: true\n", "it lacks spec.cluster.id:"},
		{inCluster("10.0.0.0"), `"10.0.0.0" is not a range`},
		{strings.ReplaceAll(inCluster("10.0.0.0/16"), "https", "http"), "is not the address of an API server"},
		{strings.ReplaceAll(inCluster("10.0.0.0/16"), "certificateAuthority: ", "certificateAuthority: x-"), "is not a certificate in base64"},
	}
	for _, tt := range tests {
		var c Collector
		var n want.Node
		lab.Must(t, c.Read([]byte(tt.text), machine(), &n))
		if err := c.Finish(machine(), &n); err == nil || !strings.Contains(err.Error(), tt.want) || n.Join != nil || n.Kubelet != nil || n.Files != nil {
			t.Errorf("%q: %v, %+v, want %q", tt.text, err, n, tt.want)
		}
	}
}

func TestReadErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"another kind", "apiVersion: node.eks.aws/v1alpha1\nkind: Pod\n", `kind "Pod"`},
		{"in capitals", "APIVersion: node.eks.aws/v1alpha1\nKind: NodeConfig\n", `kind ""`},
		{"another group", "apiVersion: v1\nkind: NodeConfig\n", `apiVersion "v1"`},
		{"nothing", "", `apiVersion ""`},
		{"a script", "#!/bin/bash\necho hello\n", "the whole is a string, but must be a map"},
		{"broken", head + "  cluster: [\n", "line "},
		{"flags", head + "  kubelet: {flags: --v=5}\n", "the field spec.kubelet.flags is a string, but must be a list"},
		{"a flag", head + "  kubelet: {flags: [{a: b}]}\n", "the field spec.kubelet.flags is an object, but must be a string"},
		{"config", head + "  kubelet: {config: maxPods}\n", "spec.kubelet.config is a string, but must be a map"},
		{"huge", head + "  # " + strings.Repeat("x", bounded.MaxText), "at most 1048576 are read"},
	}
	for _, tt := range tests {
		var c Collector
		var n want.Node
		if err := c.Read([]byte(tt.text), nil, &n); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if c.found || tt.name == "in capitals" && !strings.Contains(strings.Join(n.Skipped, "\n"), `the field "APIVersion" is unknown`) {
			t.Errorf("%s: a NodeConfig is found, or %q is skipped", tt.name, n.Skipped)
		}
	}
}

// As Windows writes it, with fields of the future, and in another version.
func TestReadIsTolerant(t *testing.T) {
	text := strings.ReplaceAll(inCluster("10.100.0.0/16")+"    clusterEndpoint: x\n  kubelet:\n    Flags: [--v=5]\n  status: {a: {b: c}}\n---\nspec: {}\n", "v1alpha1", "v1beta1")
	n := collect(t, machine(), strings.ReplaceAll(text, "\n", "\r\n"))
	want := []string{
		`NodeConfig: apiVersion "node.eks.aws/v1beta1" is read as node.eks.aws/v1alpha1`,
		`NodeConfig: the field "spec.cluster.clusterEndpoint" is unknown`,
		`NodeConfig: the field "spec.kubelet.Flags" is unknown`,
		`NodeConfig: the field "spec.status" is unknown`,
		`NodeConfig: "---" and what follows it are not used`,
	}
	if diff := cmp.Diff(want, n.Skipped); diff != "" || n.Join == nil {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	many := head
	for i := range 1000 {
		many += fmt.Sprintf("  x%d: 1\n", i)
	}
	if n := collect(t, machine(), inCluster("10.100.0.0/16"), many); len(n.Skipped) > 40 {
		t.Errorf("%d lines about unknown fields", len(n.Skipped))
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(inCluster("10.100.0.0/16")))
	f.Add([]byte(inCluster("fd00::/108") + "  kubelet: {flags: ['--a=\"b c\\'], config: {a: {b: null}}, maxPodsExpression: max_pods}\n  instance: {localStorage: {strategy: RAID0}, environment: {default: {A: b}}}\n"))
	f.Add([]byte(inCluster("10.100.0.0/16") + "x: &x " + strings.Repeat("x", 16<<10) + "\ny: [" + strings.Repeat("*x,", 8000) + "]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c := Collector{Root: "/nowhere"}
		var n want.Node
		var err, again error
		used := lab.Allocated(func() {
			if err = c.Read(text, machine(), &n); err == nil {
				again = c.Read(text, machine(), &n)
				err = c.Finish(machine(), &n)
			}
		})
		if used > uint64(64<<20+5000*len(text)) || again != nil {
			t.Errorf("%d bytes of text allocate %d; read once more: %v", len(text), used, again)
		}
		if _, bad := json.Marshal(n); bad != nil || len(n.Skipped) > 10*len(text)+100 {
			t.Errorf("%v, %d skipped", bad, len(n.Skipped))
		}
		if (err == nil) != (n.Join != nil && n.EKS != nil) {
			t.Errorf("Finish = %v, join %+v, EKS %+v", err, n.Join, n.EKS)
		}
	})
}
