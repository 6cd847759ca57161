package join

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"kios/host/pki"
	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
)

const secret = "abcdef.0123456789abcdef"

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("kubernetes")
	lab.Must(t, err)
	return ca
}

func TestFiles(t *testing.T) {
	ca := newCA(t).Cert()
	files, err := Files(Options{
		Server: "10.0.0.1", CA: ca, Token: secret,
		Name: "Node-1", NodeIP: "10.0.0.2,fd00::2",
		Labels: []string{"zone=a", "example.com/empty="},
		Taints: []string{"dedicated=gpu:NoSchedule", "example.com/x:NoExecute"},
	})
	lab.Must(t, err)
	got := map[string]string{}
	for _, f := range files {
		got[fmt.Sprintf("%s %04o", f.Path, f.Mode)] = string(f.Data)
	}
	want := map[string]string{
		"kubernetes/bootstrap-kubelet.conf 0600": `apiVersion: v1
clusters:
- cluster:
    certificate-authority: /etc/kubernetes/pki/ca.crt
    server: https://10.0.0.1:6443
  name: cluster
contexts:
- context:
    cluster: cluster
    user: bootstrap
  name: bootstrap
current-context: bootstrap
kind: Config
users:
- name: bootstrap
  user:
    token: abcdef.0123456789abcdef
`,
		"kubernetes/pki/ca.crt 0644": string(ca),
		"kubernetes/config.d/10-join.yaml 0644": `apiVersion: kubelet.config.k8s.io/v1beta1
clusterDNS:
- 10.96.0.10
clusterDomain: cluster.local
kind: KubeletConfiguration
registerWithTaints:
- effect: NoSchedule
  key: dedicated
  value: gpu
- effect: NoExecute
  key: example.com/x
serverTLSBootstrap: true
`,
		"hostname 0644":               "node-1\n",
		"kubernetes/node-ip 0644":     "10.0.0.2,fd00::2\n",
		"kubernetes/node-labels 0644": "zone: a\nexample.com/empty: \n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Files (-want +got):\n%s", diff)
	}
}

func kubeconfigText(user string) []byte {
	return []byte("apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n" +
		"clusters: [{name: a, cluster: {server: 'https://10.0.0.1:6443'}}]\nusers: [{name: a, user: {" + user + "}}]\n")
}

func encode(text []byte) string { return base64.StdEncoding.EncodeToString(text) }

func TestKubeconfigGoesWhereItBelongs(t *testing.T) {
	pair, err := newCA(t).Client("system:node:a", "system:nodes")
	lab.Must(t, err)
	for _, tt := range []struct{ user, want string }{
		{"token: " + secret, "kubernetes/bootstrap-kubelet.conf"},
		{"token: eyJhbGciOi", "kubernetes/kubelet.conf"},
		{"tokenFile: /etc/kubernetes/token", "kubernetes/kubelet.conf"},
		{"exec: {command: /usr/libexec/x}", "kubernetes/kubelet.conf"},
		{"client-certificate-data: " + encode(pair.Cert) + ", client-key-data: " + encode(pair.Key), "kubernetes/kubelet.conf"},
		{"client-certificate: /var/lib/me.pem, client-key: /var/lib/me.pem", "kubernetes/kubelet.conf"},
	} {
		text := kubeconfigText(tt.user)
		files, err := Files(Options{Kubeconfig: text})
		if err != nil {
			t.Errorf("user {%s}: %v", tt.user, err)
			continue
		}
		if files[0].Path != tt.want || files[0].Mode != 0o600 || string(files[0].Data) != string(text) {
			t.Errorf("user {%s}: %s %v, want %s as it was", tt.user, files[0].Path, files[0].Mode, tt.want)
		}
	}
}

func TestMistakes(t *testing.T) {
	ca := newCA(t)
	server, err := ca.Server("server")
	lab.Must(t, err)
	good := func(change func(*Options)) Options {
		o := Options{Server: "a:6443", CA: ca.Cert(), Token: secret}
		change(&o)
		return o
	}
	config := func(user string) Options { return Options{Kubeconfig: kubeconfigText(user)} }
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"no server", good(func(o *Options) { o.Server = "" }), `"" is not an API server`},
		{"http", good(func(o *Options) { o.Server = "http://a" }), "write HOST:PORT"},
		{"path", good(func(o *Options) { o.Server = "https://a/b" }), "write HOST:PORT"},
		{"no token", good(func(o *Options) { o.Token = "" }), "kubeadm token create"},
		{"bad token", good(func(o *Options) { o.Token = "abcdef:0123456789abcdef" }), "it must be ID.SECRET"},
		{"no CA", good(func(o *Options) { o.CA = nil }), "no certificate in PEM"},
		{"key for CA", good(func(o *Options) { o.CA = server.Key }), "private key"},
		{"leaf for CA", good(func(o *Options) { o.CA = server.Cert }), "is not a CA certificate"},
		{"DNS", good(func(o *Options) { o.ClusterDNS = []string{"dns"} }), `"dns" of the cluster's DNS service is not an IP address`},
		{"taint", good(func(o *Options) { o.Taints = []string{"a=b"} }), "write KEY=VALUE:EFFECT"},
		{"taint's key", good(func(o *Options) { o.Taints = []string{"a b:NoSchedule"} }), "is no key"},
		{"label", good(func(o *Options) { o.Labels = []string{"a"} }), "write KEY=VALUE"},
		{"reserved label", good(func(o *Options) { o.Labels = []string{"node-role.kubernetes.io/x=y"} }), "may not give itself"},
		{"name", good(func(o *Options) { o.Name = "a_b" }), "is no host name"},
		{"address", good(func(o *Options) { o.NodeIP = "10.0.0.1,10.0.0.2" }), "one of each family"},
		{"two ways", good(func(o *Options) { o.Kubeconfig = []byte("x") }), "not both"},
		{"kubeconfig is garbage", Options{Kubeconfig: []byte("a: [")}, "read the kubeconfig"},
		{"kubeconfig is empty", Options{Kubeconfig: []byte("")}, "there is no context of that name"},
		{"no credentials", config(""), "has no credentials"},
		{"file of this machine", config("tokenFile: /home/me/token"), "which a node does not have"},
		{"relative file", config("client-certificate: me.crt, client-key: me.key"), "kubectl config view"},
		{"certificate without key", config("client-certificate-data: eA=="), "needs both"},
		{"key without certificate", config("client-key-data: eA=="), "needs both"},
		{"no certificate", config("client-certificate-data: eA==, client-key-data: eA=="), "the user's client certificate"},
		{"no base64", config("client-certificate-data: '?', client-key-data: eA=="), "client-certificate-data"},
	}
	for _, tt := range tests {
		_, err := Files(tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && (strings.Contains(err.Error(), "0123456789abcdef") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: error = %q shows a secret, or is long", tt.name, err)
		}
	}
}
