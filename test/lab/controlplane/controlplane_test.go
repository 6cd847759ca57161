//go:build cluster

package controlplane

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/host/clusterconfig"
	"kios/test/lab"
	"kios/test/lab/netns"
)

const address = "10.79.0.1"

func start(t *testing.T) *ControlPlane {
	t.Helper()
	bin := Programs(t)
	namespace := fmt.Sprintf("kios-plane-%d", os.Getpid())
	netns.Add(t, namespace)
	netns.IP(t, namespace, "addr", "add", address+"/32", "dev", "lo")
	c, err := clusterconfig.Open(t.TempDir(), clusterconfig.Config{Endpoint: address + ":6443"})
	lab.Must(t, err)
	begin := time.Now()
	p := Start(t, namespace, c, bin)
	t.Logf("ready after %s", time.Since(begin).Round(time.Millisecond))
	return p
}

// bound is for what is waited for.
const bound = 30 * time.Second

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
		lab.Must(t, err)
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
	lab.Must(t, err)
	etc := t.TempDir()
	lab.Must(t, files.Write(etc))
	bootstrap := filepath.Join(etc, "bootstrap-kubelet.conf")
	text, err := os.ReadFile(filepath.Join(etc, "kubernetes/bootstrap-kubelet.conf"))
	lab.Must(t, err)
	ca := filepath.Join(etc, "kubernetes/pki/ca.crt")
	// The file names the authority where it will be on the node.
	text = []byte(strings.ReplaceAll(string(text), "/etc/kubernetes/pki/ca.crt", ca))
	lab.Must(t, os.WriteFile(bootstrap, text, 0o600))
	key, cert := signed(t, p, bootstrap, Request{Name: "client", Signer: "kube-apiserver-client-kubelet", Usage: "client auth"})
	for name, data := range map[string][]byte{"node.key": key, "node.crt": cert} {
		lab.Must(t, os.WriteFile(filepath.Join(etc, name), data, 0o600))
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

// create makes a request of worker-1 as the user of a kubeconfig.
func create(t *testing.T, p *ControlPlane, kubeconfig string, r Request) (key []byte) {
	t.Helper()
	r.Node = "worker-1"
	manifest, key := r.Make(t)
	if _, err := p.as(kubeconfig, manifest, "create", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	return key
}

// signed makes a request and waits for the certificate.
func signed(t *testing.T, p *ControlPlane, kubeconfig string, r Request) (key, cert []byte) {
	t.Helper()
	key = create(t, p, kubeconfig, r)
	lab.Eventually(t, bound, "the certificate of "+r.Name, func() error {
		var got struct{ Status struct{ Certificate []byte } }
		if err := json.Unmarshal([]byte(p.Kubectl("get", "csr", r.Name, "-o", "json")), &got); err != nil {
			return err
		}
		if cert = got.Status.Certificate; cert == nil {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	return key, cert
}

const serving = "kubelet-serving"

// testServing asks for serving certificates as the node: one before the node
// has an address, which is approved later, and two for addresses of others.
func testServing(t *testing.T, p *ControlPlane, node string) {
	t.Helper()
	create(t, p, node, Request{Name: "early", Signer: serving, Usage: "server auth", Addresses: []string{"10.79.0.11"}})
	waitLog(t, p, `request="early"`, "there is no node worker-1")
	if _, err := p.as(node, `{"apiVersion":"v1","kind":"Node","metadata":{"name":"worker-1"}}`, "create", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	waitLog(t, p, `request="early"`, "no address of the node")
	patch := `{"status":{"addresses":[{"type":"InternalIP","address":"10.79.0.11"},{"type":"Hostname","address":"worker-1"}]}}`
	// By the administrator, since kubectl reads nodes/status first, which a node may
	// not: it may only write there.
	p.Kubectl("patch", "node", "worker-1", "--subresource=status", "--patch", patch)
	lab.Eventually(t, bound, "the early request", func() error {
		if got := p.Kubectl("get", "csr", "early", "-o", "jsonpath={.status.certificate}"); got == "" {
			return fmt.Errorf("it has no certificate")
		}
		return nil
	})

	for name, bad := range map[string]struct{ address, reason string }{
		"others": {"10.79.0.12", " is no address of the node"},
		"api":    {address, " is an address that no node may have"}, // the API server's
	} {
		create(t, p, node, Request{Name: name, Signer: serving, Usage: "server auth", Addresses: []string{"10.79.0.11", bad.address}})
		waitLog(t, p, `request="`+name+`"`, bad.address+bad.reason)
		if got := p.Kubectl("get", "csr", name, "-o", "jsonpath={.status}"); got != "{}" && got != "" {
			t.Errorf("the status of the bad request %s is %s, want none: it is for a person", name, got)
		}
	}
}

// waitLog waits for a line of the approver with all these words.
func waitLog(t *testing.T, p *ControlPlane, words ...string) {
	t.Helper()
	lab.Eventually(t, bound, "the approver's log", func() error {
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
