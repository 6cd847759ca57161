package firstkios

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/pods/metadata/want"
	"kios/test/lab"
)

var certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("a CA")})

// base is what the user data need at least.
var base = `apiVersion: kios.redcoat.dev/v1alpha1
kind: MetadataInformation
apiServer:
  name: dev
  endpoint: https://abc.eks.amazonaws.com
  b64ClusterCA: ` + base64.StdEncoding.EncodeToString(certificate) + "\n"

func machine() *want.Machine {
	return &want.Machine{Type: "m5.large", ProviderID: "aws:///eu-west-1a/i-0abc", Region: "eu-west-1", Zone: "eu-west-1a", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.7")}}
}

func read(t *testing.T, m *want.Machine, text string) *want.Node {
	t.Helper()
	var n want.Node
	lab.Must(t, Read([]byte(text), m, &n))
	return &n
}

// fields are those of a file.
func fields(t *testing.T, n *want.Node) map[string]any {
	t.Helper()
	text, err := json.Marshal(n.Kubelet)
	lab.Must(t, err)
	var all map[string]any
	lab.Must(t, json.Unmarshal(text, &all))
	return all
}

func TestRead(t *testing.T) {
	n := read(t, machine(), strings.ReplaceAll(base+`node:
  taints:
  - {key: dedicated, value: gpu, effect: NoSchedule}
  labels: {team: a, topology.kubernetes.io/zone: mine}
  containerRuntime: {imageVolumes: bind}
  color: red
  kubeletConfiguration: |
    apiVersion: kubelet.config.k8s.io/v1beta1
    kind: KubeletConfiguration
    maxPods: 5
    serverTLSBootstrap: false
    registerWithTaints: []
    kubeAPIQPS: 7
`, "\n", "\r\n"))
	want := map[string]any{
		"clusterDNS": []any{"172.20.0.10"}, "providerID": "aws:///eu-west-1a/i-0abc", "serverTLSBootstrap": true, "rotateCertificates": false,
		"maxPods": 30., "kubeAPIQPS": 7., "registerWithTaints": []any{map[string]any{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}},
	}
	if diff := cmp.Diff(want, fields(t, n)); diff != "" {
		t.Errorf("kubelet (-want +got):\n%s", diff)
	}
	labels := map[string]string{"team": "a", "topology.kubernetes.io/zone": "mine"}
	if diff := cmp.Diff(labels, n.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if n.EKS.Cluster != "dev" || n.Join.Server != "https://abc.eks.amazonaws.com" || n.Join.TokenFile == "" || string(n.Join.CA) != string(certificate) {
		t.Errorf("EKS %+v, join %+v", n.EKS, n.Join)
	}
	if len(n.Skipped) != 2 || len(n.Flags) != 1 || n.Flags[0] != "--cloud-provider=external" || len(n.Files) != 2 || n.Hostname != "" {
		t.Errorf("skipped %q, flags %q, files %v, hostname %q", n.Skipped, n.Flags, n.Files, n.Hostname)
	}
}

func TestMaxPods(t *testing.T) {
	tests := []struct {
		machine, node string
		want          any
	}{
		{"m5.large", "{}", 30.},
		{"m5.large", "{maxPods: {offset: 0}}", 27.},
		{"t3.nano", "{}", 8.}, // the node's own pods count
		{"m5.large", "{maxPods: {set: false}}", nil},
		{"m5.large", "{maxPods: {set: false}, kubeletConfiguration: 'maxPods: 9'}", 9.},
		{"m5.large", "{maxPods: {set: true, offset: 2}, kubeletConfiguration: 'maxPods: 9'}", 29.},
		// The first kiOS took 3.
		{"m99.large", "{}", nil},
		{"m99.large", "{kubeletConfiguration: 'maxPods: 9'}", 9.},
	}
	for _, tt := range tests {
		m := machine()
		m.Type = tt.machine
		if got := fields(t, read(t, m, base+"node: "+tt.node+"\n"))["maxPods"]; got != tt.want {
			t.Errorf("%s, %s: maxPods %v, want %v", tt.machine, tt.node, got, tt.want)
		}
	}
}

func TestClusterDNS(t *testing.T) {
	for addr, want := range map[string]string{"10.0.0.7": "172.20.0.10", "192.168.0.7": "10.100.0.10", "100.64.0.1": "10.100.0.10", "2001:db8::7": "10.100.0.10"} {
		m := machine()
		m.Addresses = []netip.Addr{netip.MustParseAddr(addr)}
		if got := fields(t, read(t, m, base))["clusterDNS"]; !cmp.Equal(got, []any{want}) {
			t.Errorf("%s: clusterDNS %v, want %s", addr, got, want)
		}
	}
	if got := fields(t, read(t, machine(), base+"node: {kubeletConfiguration: 'clusterDNS: [10.1.0.10]'}\n"))["clusterDNS"]; !cmp.Equal(got, []any{"10.1.0.10"}) {
		t.Errorf("clusterDNS %v, want the user's", got)
	}
}

func TestErrors(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"another format", "apiVersion: v1\n", `the apiVersion is "v1"`},
		{"no cluster", "apiVersion: kios.redcoat.dev/v1alpha1\n", "it must have name, endpoint and b64ClusterCA"},
		{"no CA", strings.ReplaceAll(base, "b64ClusterCA: ", "b64ClusterCA: x"), "is not a certificate in base64"},
		{"taints", base + "node: {taints: a}\n", "the field node.taints is a string, but must be a list"},
		{"configuration", base + "node: {kubeletConfiguration: '- a'}\n", "node.kubeletConfiguration: "},
		{"a map for a string", base + "node: {kubeletConfiguration: {maxPods: 3}}\n", "but must be a string"},
		{"broken", "a: [", "line "},
	}
	for _, tt := range tests {
		var n want.Node
		if err := Read([]byte(tt.text), machine(), &n); err == nil || !strings.Contains(err.Error(), tt.want) || n.Join != nil || n.Kubelet != nil {
			t.Errorf("%s: %v, %+v, want %q", tt.name, err, n, tt.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte(base + "node: {taints: [{key: a}], labels: {a: b}, maxPods: {set: false, offset: 2}, kubeletConfiguration: 'a: {b: [c]}'}\n"))
	f.Add([]byte(base + "x: &x " + strings.Repeat("x", 16<<10) + "\ny: [" + strings.Repeat("*x,", 8000) + "]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var n want.Node
		var err error
		if used := lab.Allocated(func() { err = Read(text, machine(), &n) }); used > uint64(64<<20+5000*len(text)) {
			t.Errorf("%d bytes of text allocate %d", len(text), used)
		}
		if (err == nil) != (n.Join != nil && n.EKS != nil) {
			t.Errorf("%v, %+v", err, n)
		}
		if _, err := json.Marshal(n); err != nil {
			t.Error(err)
		}
	})
}
