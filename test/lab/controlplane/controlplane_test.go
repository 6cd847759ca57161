//go:build netns

package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/host/clusterconfig"
	"kios/test/netlab"
)

// binaries returns the programs of the newest control plane that was built, or
// those in the directory KIOS_CLUSTER_BIN.
func binaries(t *testing.T) map[string]string {
	t.Helper()
	dir := os.Getenv("KIOS_CLUSTER_BIN")
	if dir == "" {
		dir = "../../_out/amd64/cluster/v1.37.2"
	}
	bin := map[string]string{}
	for _, name := range []string{"kubernetes", "etcd", "kubectl"} {
		bin[name] = filepath.Join(dir, name)
		if _, err := os.Stat(bin[name]); err != nil {
			t.Fatalf("%v: build it with kios cluster build, or name its directory with KIOS_CLUSTER_BIN", err)
		}
	}
	return bin
}

const address = "10.79.0.1"

func start(t *testing.T) *ControlPlane {
	t.Helper()
	bin := binaries(t)
	namespace := fmt.Sprintf("kios-plane-%d", os.Getpid())
	netlab.Run(t, "ip", "netns", "add", namespace)
	t.Cleanup(func() { netlab.Run(t, "ip", "netns", "del", namespace) })
	netlab.Run(t, "ip", "-n", namespace, "link", "set", "lo", "up")
	netlab.Run(t, "ip", "-n", namespace, "addr", "add", address+"/32", "dev", "lo")
	c, err := clusterconfig.Open(t.TempDir(), clusterconfig.Config{Endpoint: address + ":6443"})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	p := Start(t, namespace, c, bin)
	t.Logf("ready after %s", time.Since(begin).Round(time.Millisecond))
	return p
}

// eventually tries until f succeeds.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-time.After(poll) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func TestControlPlane(t *testing.T) {
	p := start(t)
	if got := p.Kubectl("get", "--raw", "/readyz"); got != "ok" {
		t.Errorf("/readyz = %q, want ok", got)
	}
	testStrangers(t, p)
	p.ApplyAddOns()
	node := testBootstrap(t, p)
	testServing(t, p, node)
	p.StopAPIServer()
	if out, err := p.TryKubectl("", "get", "--raw", "/readyz"); err == nil {
		t.Errorf("/readyz = %q of an API server that was stopped", out)
	}
	p.StartAPIServer()
	if got := p.Kubectl("get", "node", "worker-1", "-o", "jsonpath={.metadata.name}"); got != "worker-1" {
		t.Errorf("the node is %q after the API server was away", got)
	}
}

// testStrangers asks without a certificate: for its health, which the kubelet
// does, and for what anybody may see elsewhere.
func testStrangers(t *testing.T, p *ControlPlane) {
	t.Helper()
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/version": 401, "/api": 401, "/api/v1/nodes": 401} {
		response, err := p.client().Get("https://" + address + ":6443" + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("a stranger gets %d for %s, want %d", response.StatusCode, path, want)
		}
	}
}

// as runs kubectl with the files of a node.
func (p *ControlPlane) as(kubeconfig, input string, args ...string) (string, error) {
	return p.TryKubectl(input, append([]string{"--kubeconfig", kubeconfig}, args...)...)
}

// testBootstrap gets a client certificate by the token that a worker's files
// have, as its kubelet would, and returns a kubeconfig with it.
func testBootstrap(t *testing.T, p *ControlPlane) (kubeconfig string) {
	t.Helper()
	files, err := p.cluster.Worker(clusterconfig.Node{Name: "worker-1", Address: "10.79.0.11"})
	if err != nil {
		t.Fatal(err)
	}
	etc := t.TempDir()
	if err := files.Write(etc); err != nil {
		t.Fatal(err)
	}
	bootstrap := filepath.Join(etc, "bootstrap-kubelet.conf")
	text, err := os.ReadFile(filepath.Join(etc, "kubernetes/bootstrap-kubelet.conf"))
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(etc, "kubernetes/pki/ca.crt")
	// The file names the authority where it will be on the node.
	text = []byte(strings.ReplaceAll(string(text), "/etc/kubernetes/pki/ca.crt", ca))
	if err := os.WriteFile(bootstrap, text, 0o600); err != nil {
		t.Fatal(err)
	}
	key, cert := request(t, p, bootstrap, csr{
		name: "client", signer: "kubernetes.io/kube-apiserver-client-kubelet", usage: "client auth",
	})
	for name, data := range map[string][]byte{"node.key": key, "node.crt": cert} {
		if err := os.WriteFile(filepath.Join(etc, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig = filepath.Join(etc, "kubelet.conf")
	for _, args := range [][]string{
		{"set-cluster", "c", "--server=https://" + address + ":6443", "--certificate-authority=" + ca},
		{"set-credentials", "u", "--client-key=" + filepath.Join(etc, "node.key"), "--client-certificate=" + filepath.Join(etc, "node.crt")},
		{"set-context", "x", "--cluster=c", "--user=u"},
		{"use-context", "x"},
	} {
		if _, err := p.as(kubeconfig, "", append([]string{"config"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := p.as(kubeconfig, "", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"); err != nil || out != "system:node:worker-1" {
		t.Fatalf("the node is %q (%v), want system:node:worker-1", out, err)
	}
	return kubeconfig
}

// csr is a request for a certificate for worker-1.
type csr struct {
	name, signer, usage string
	addresses           []string
}

// create makes a request as the user of a kubeconfig.
func (c csr) create(t *testing.T, p *ControlPlane, kubeconfig string) (key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:worker-1", Organization: []string{"system:nodes"}}}
	for _, a := range c.addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(a))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, private)
	if err != nil {
		t.Fatal(err)
	}
	object, err := json.Marshal(map[string]any{
		"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
		"metadata": map[string]any{"name": c.name},
		"spec": map[string]any{
			"request":    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			"signerName": c.signer,
			"usages":     []string{"digital signature", c.usage},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.as(kubeconfig, string(object), "create", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// request makes a request and waits for the certificate.
func request(t *testing.T, p *ControlPlane, kubeconfig string, c csr) (key, cert []byte) {
	t.Helper()
	key = c.create(t, p, kubeconfig)
	eventually(t, "the certificate of "+c.name, func() error {
		var got struct{ Status struct{ Certificate []byte } }
		if err := json.Unmarshal([]byte(p.Kubectl("get", "csr", c.name, "-o", "json")), &got); err != nil {
			return err
		}
		if cert = got.Status.Certificate; cert == nil {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	return key, cert
}

const serving = "kubernetes.io/kubelet-serving"

// testServing asks for serving certificates as the node: one before the node
// has an address, which is approved later, and two for addresses of others.
func testServing(t *testing.T, p *ControlPlane, node string) {
	t.Helper()
	early := csr{name: "early", signer: serving, usage: "server auth", addresses: []string{"10.79.0.11"}}
	early.create(t, p, node)
	waitLog(t, p, `request="early"`, "there is no node worker-1")
	if _, err := p.as(node, `{"apiVersion":"v1","kind":"Node","metadata":{"name":"worker-1"}}`, "create", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	waitLog(t, p, `request="early"`, "no address of the node")
	patch := `{"status":{"addresses":[{"type":"InternalIP","address":"10.79.0.11"},{"type":"Hostname","address":"worker-1"}]}}`
	// By the administrator, since kubectl reads nodes/status first, which a node may
	// not: it may only write there.
	p.Kubectl("patch", "node", "worker-1", "--subresource=status", "--patch", patch)
	eventually(t, "the early request", func() error {
		if got := p.Kubectl("get", "csr", "early", "-o", "jsonpath={.status.certificate}"); got == "" {
			return fmt.Errorf("it has no certificate")
		}
		return nil
	})

	for name, bad := range map[string]struct{ address, reason string }{
		"others": {"10.79.0.12", " is no address of the node"},
		"api":    {address, " is an address that no node may have"}, // the API server's
	} {
		request := csr{name: name, signer: serving, usage: "server auth", addresses: []string{"10.79.0.11", bad.address}}
		request.create(t, p, node)
		waitLog(t, p, `request="`+name+`"`, bad.address+bad.reason)
		if got := p.Kubectl("get", "csr", name, "-o", "jsonpath={.status}"); got != "{}" && got != "" {
			t.Errorf("the status of the bad request %s is %s, want none: it is for a person", name, got)
		}
	}
}

// waitLog waits for a line of the approver with all these words.
func waitLog(t *testing.T, p *ControlPlane, words ...string) {
	t.Helper()
	eventually(t, "the approver's log", func() error {
		for line := range strings.Lines(p.Log("kubelet-serving-approver")) {
			if containsAll(line, words) {
				return nil
			}
		}
		return fmt.Errorf("no line has %q", words)
	})
}

func containsAll(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}
