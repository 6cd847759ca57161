package kubeadm

import (
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/pods/metadata/want"
	"kios/test/lab/authority"
)

const (
	token   = "abcdef.0123456789abcdef"
	another = "ghijkl.0123456789abcdef"
	pinned  = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

const join4 = `apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: api.example.com:443
    caCertHashes: [` + pinned + `]
    token: ` + token + "\n"

const everything = "---\n# made by hand\n--- # join\n" + join4 + `caCertPath: /etc/ca.crt
dryRun: true
patches: {directory: /etc/patches}
skipPhases: [preflight, kubelet-start]
timeouts: {discovery: 5m0s}
nodeRegistration:
  name: node-1
  criSocket: /run/containerd/containerd.sock
  ignorePreflightErrors: [all]
  imagePullPolicy: Always
  taints: [{key: a, effect: NoSchedule}, {key: b, value: c, effect: NoExecute}]
  kubeletExtraArgs:
  - {name: cloud-provider, value: external}
  - {name: provider-id, value: "openstack:///'12-34'"}
  - {name: node-labels, value: "a=b,example.com/c=d"}
  - {name: v, value: ""}
  - {name: bad, value: "a b"}
  - {name: "bad name", value: a}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: 20
evictionHard: {memory.available: 1Gi}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: x
`

func wantEverything(n *want.Node) {
	n.Hostname = "node-1"
	n.Labels = map[string]string{"a": "b", "example.com/c": "d"}
	n.Flags = []string{"--cloud-provider=external", "--provider-id=openstack:///12-34", "--v="}
	n.Kubelet = map[string]any{
		"maxPods": float64(20), "evictionHard": map[string]any{"memory.available": "1Gi"},
		"registerWithTaints": []any{map[string]any{"key": "a", "effect": "NoSchedule"}, map[string]any{"key": "b", "value": "c", "effect": "NoExecute"}},
	}
	n.Skipped = []string{
		"ClusterConfiguration of kubeadm.k8s.io/v1beta4 in the configuration of kubeadm is not used: a worker needs none",
		"dryRun of the JoinConfiguration is not used: the node joins",
		`caCertPath "/etc/ca.crt" of the JoinConfiguration is not used: the cluster's CA is in /etc/kubernetes/pki/ca.crt`,
		`patches in "/etc/patches" are not used: put a KubeletConfiguration into /etc/kubernetes/config.d`,
		`skipPhases "preflight,kubelet-start" of the JoinConfiguration is not used: there are no phases`,
		"bad in kubeletExtraArgs is not used: its value is more than one word: put it in quotes",
		`"bad name" in kubeletExtraArgs is not used: it is not the name of a flag`,
	}
}

func TestRead(t *testing.T) {
	basic := func(change func(n *want.Node)) want.Node {
		n := want.Node{Join: &want.Join{Server: "https://api.example.com:443", Hashes: []string{pinned}, Token: token, Discovery: token, ClusterConfig: true}}
		change(&n)
		return n
	}
	for _, tt := range []struct {
		name, text string
		want       want.Node
	}{
		{"the least", join4, basic(func(*want.Node) {})},
		{"another token for the certificate", join4 + "  tlsBootstrapToken: " + another, basic(func(n *want.Node) { n.Join.Token = another })},
		{"all of it", everything, basic(wantEverything)},
		{"v1beta3", strings.Replace(join4, "v1beta4", "v1beta3", 1) + "nodeRegistration: {taints: [], kubeletExtraArgs: {node-ip: 10.0.0.1, cloud-provider: external}}\n",
			basic(func(n *want.Node) { n.Flags = []string{"--cloud-provider=external", "--node-ip=10.0.0.1"} })},
		{"no taints", join4 + "nodeRegistration: {taints: null, kubeletExtraArgs: null}\ncontrolPlane: null\n", basic(func(*want.Node) {})},
		{"no texts", join4 + "nodeRegistration: {kubeletExtraArgs: {max-pods: 50, fail-swap-on: false, v: null}}\n",
			basic(func(n *want.Node) { n.Flags = []string{"--fail-swap-on=false", "--max-pods=50", "--v="} })},
		{"no texts in a list", join4 + "nodeRegistration: {kubeletExtraArgs: [{name: max-pods, value: 50}]}\n", basic(func(n *want.Node) { n.Flags = []string{"--max-pods=50"} })},
		{"what is unknown", join4 + "  timeout: 5m\nnodeRegistration: {kubeletExtraArg: {a: b}, imagePullSerial: true, taints: [{key: a, effect: NoExecute, timeAdded: null, efect: b}], kubeletExtraArgs: {--a: b}}\ndryRun: false\ndryRun: false\n",
			basic(func(n *want.Node) {
				n.Kubelet = map[string]any{"registerWithTaints": []any{map[string]any{"key": "a", "effect": "NoExecute"}}}
				n.Skipped = []string{
					`JoinConfiguration: the field "nodeRegistration.kubeletExtraArg" is unknown`,
					`JoinConfiguration: the field "nodeRegistration.taints.efect" is unknown`,
					`JoinConfiguration: line 11: the field "dryRun" is there twice: the last one counts`,
					`"--a" in kubeletExtraArgs is not used: write the name of the flag without dashes before it`,
				}
			})},
		{"no hash", strings.Replace(join4, "caCertHashes: ["+pinned+"]", "unsafeSkipCAVerification: true", 1),
			basic(func(n *want.Node) { n.Join.Hashes, n.Join.Insecure = nil, true })},
	} {
		var n want.Node
		if err := Read([]byte(tt.text), nil, &n); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if diff := cmp.Diff(tt.want, n); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestReadMistakes(t *testing.T) {
	change := func(from, to string) string { return strings.Replace(join4, from, to, 1) }
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "there is no JoinConfiguration"},
		{"init", change("JoinConfiguration", "InitConfiguration"), "there is no JoinConfiguration"},
		{"a control plane", join4 + "controlPlane: {}\n", "asks for a control plane"},
		{"an old version", change("v1beta4", "v1beta2"), "write it in v1beta4 or v1beta3"},
		{"twice", join4 + "---\n" + join4, "two JoinConfigurations"},
		{"no YAML", "a: [", "read the configuration of kubeadm: "},
		{"a type", join4 + "nodeRegistration: 3\n", "the field nodeRegistration is a number, but must be a map of fields"},
		{"hashes", change("["+pinned+"]", pinned), "the field discovery.bootstrapToken.caCertHashes is a string, but must be a list"},
		{"an argument", join4 + "nodeRegistration: {kubeletExtraArgs: {a: [b]}}\n", "is a list or map, but must be a string"},
		{"a taint of the flag", join4 + "nodeRegistration: {taints: ['a=b:NoSchedule']}\n", "the field nodeRegistration.taints is a string"},
		{"a taint without an effect", join4 + "nodeRegistration: {taints: [{key: a}]}\n", `the taint "a" of nodeRegistration needs`},
		{"no discovery", change("bootstrapToken:", "x:"), "does not say which cluster to join"},
		{"both", join4 + "  file: {kubeConfigPath: /a}\n", "leave out one of them"},
		{"no server", change("api.example.com:443", "''"), "apiServerEndpoint"},
		{"a token", change(token, "secretsecret"), "discovery.bootstrapToken.token: this is not a bootstrap token"},
		{"another token", join4 + "  tlsBootstrapToken: secretsecret\n", "discovery.tlsBootstrapToken: this is not"},
		{"a hash", change(pinned, "sha256:1"), "64 hexadecimal digits"},
		{"many hashes", change(pinned, strings.Repeat(pinned+",", 40)), "more than 32 hashes"},
		{"aliases", "a: &a " + strings.Repeat("x", 60000) + "\nb: [" + strings.Repeat("*a,", 10000) + "]\n", "aliases stand for"},
		{"no hash", change("caCertHashes: ["+pinned+"]", "unsafeSkipCAVerification: false"), "give discovery.bootstrapToken.caCertHashes"},
		{"large", join4 + strings.Repeat("# x\n", maxText/4), "at most these are read"},
		{"many documents", join4 + strings.Repeat("---\n", 100), "more than 16 documents"},
	} {
		n := want.Node{Hostname: "before"}
		err := Read([]byte(tt.text), nil, &n)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error = %v, want %q in one line, and no secret", tt.name, err, tt.want)
		}
		if diff := cmp.Diff(want.Node{Hostname: "before"}, n); diff != "" {
			t.Errorf("%s: the node is another one (-want +got):\n%s", tt.name, diff)
		}
	}
}

// kubeconfigOf is one whose user is given, in YAML.
func kubeconfigOf(ca, user string) string {
	return "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n" +
		"clusters: [{name: a, cluster: {server: 'https://10.0.0.1:6443', " + ca + "}}]\nusers: [{name: a, user: {" + user + "}}]\n"
}

func TestReadDiscoveryFile(t *testing.T) {
	ca := authority.New(t)
	data := "certificate-authority-data: " + base64.StdEncoding.EncodeToString(ca.PEM())
	const head = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ndiscovery: {file: {kubeConfigPath: /etc/kubernetes/d.conf}"
	withToken := &want.Join{Server: "https://10.0.0.1:6443", CA: ca.PEM(), Token: token, ClusterConfig: true}
	for _, tt := range []struct {
		name, kubeconfig, tls string
		want                  *want.Join
		err                   string
	}{
		{"a token in it", kubeconfigOf(data, "token: "+token), "", &want.Join{Kubeconfig: []byte(kubeconfigOf(data, "token: "+token)), CA: ca.PEM(), ClusterConfig: true}, ""},
		{"another token", kubeconfigOf(data, ""), token, withToken, ""},
		{"the CA in a file", kubeconfigOf("certificate-authority: /etc/kubernetes/ca.crt", ""), token, withToken, ""},
		{"the CA elsewhere", kubeconfigOf("certificate-authority: /etc/x.crt", ""), token, nil, `"/etc/x.crt" is not one of the files in the user data`},
		{"no CA", kubeconfigOf("", ""), token, nil, "no certificate in PEM"},
		{"no token", kubeconfigOf(data, ""), "", nil, "has no discovery.tlsBootstrapToken"},
		{"no kubeconfig", "x", token, nil, "read /etc/kubernetes/d.conf"},
		{"no clusters", "clusters: []", token, nil, "does not say which cluster is meant"},
	} {
		n := want.Node{Files: []want.File{
			{Path: "/etc/kubernetes/d.conf", Content: []byte("other")},
			{Path: "/etc/kubernetes/d.conf", Content: []byte(tt.kubeconfig[:1])},
			{Path: "/etc/kubernetes/d.conf", Content: []byte(tt.kubeconfig[1:]), Append: true},
			{Path: "/etc/kubernetes/ca.crt", Content: ca.PEM()},
		}}
		text := head + "}\n"
		if tt.tls != "" {
			text = head + ", tlsBootstrapToken: " + tt.tls + "}\n"
		}
		err := Read([]byte(text), nil, &n)
		if diff := cmp.Diff(tt.want, n.Join); diff != "" || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q, (-want +got):\n%s", tt.name, err, tt.err, diff)
		}
	}
	var n want.Node
	if err := Read([]byte(head+"}\n"), nil, &n); err == nil || !strings.Contains(err.Error(), "put it there") {
		t.Errorf("without the file: %v", err)
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		"a":                      {"a"},
		"  a\tb\n":               {"a", "b"},
		`openstack:///'1 2'`:     {"openstack:///1 2"},
		`"a=b,c=d"`:              {"a=b,c=d"},
		`a\ b '\"' "it's" '' a'`: {"a b", `"`, "it's", "", "a"},
		"":                       nil,
		" ":                      nil,
	} {
		if diff := cmp.Diff(want, Words(text)); diff != "" {
			t.Errorf("Words(%q) (-want +got):\n%s", text, diff)
		}
	}
}

func TestSplit(t *testing.T) {
	var got []string
	for _, doc := range split([]byte("a\n---\nb\n--- # c\nc\n---d\n---\r\n---")) {
		got = append(got, string(doc))
	}
	want := []string{"a\n", "\nb\n", " # c\nc\n---d\n", "\r\n", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("split (-want +got):\n%s", diff)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(join4))
	f.Add([]byte("--- a\n---\n[[[[{a: b}]]]]"))
	f.Add([]byte("a: &a [x,x]\nb: [*a,*a]\n"))
	f.Add([]byte(strings.Repeat("[", 2000)))
	f.Add([]byte(strings.Repeat("- - ", 1000)))
	f.Fuzz(func(t *testing.T, text []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var n want.Node
		err := Read(text, nil, &n)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20+2000*uint64(len(text)) {
			t.Errorf("%d bytes of text take %d bytes", len(text), used)
		}
		if (err == nil) != (n.Join != nil) {
			t.Errorf("Read = %v, and the node joins %v", err, n.Join)
		}
		for _, flag := range n.Flags {
			if !strings.HasPrefix(flag, "--") || !strings.Contains(flag, "=") {
				t.Errorf("Read makes the flag %q", flag)
			}
		}
		_ = fmt.Sprint(n.Skipped)
	})
}
