//go:build cluster

package podnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kios/host/clusterconfig"
	"kios/test/lab"
	"kios/test/lab/controlplane"
	"kios/test/lab/netns"
)

// The network of the nodes, on a bridge at the control plane's machine. For
// pods, that one is the world outside.
const (
	outside = "10.79.1.1"
	service = "10.96.100.100"
	dns     = "10.96.0.10"
)

// node is a network namespace with a cable to the bridge.
type node struct {
	t                        *testing.T
	plane                    *controlplane.ControlPlane
	name, namespace, address string
	dir                      string // its file system, as far as CNI needs it
	images                   map[string]string
	flannel                  *netns.Process
}

func (n *node) bin() string { return filepath.Join(n.dir, "opt/cni/bin") }
func (n *node) etc() string { return filepath.Join(n.dir, "etc/cni/net.d") }

func TestPodNetwork(t *testing.T) {
	images := map[string]string{}
	for _, name := range []string{"flannel", "kube-proxy", "coredns"} {
		images[name] = unpack(t, name)
	}
	plane := startPlane(t)
	one := newNode(t, plane, images, "node-1", "10.79.1.11")
	two := newNode(t, plane, images, "node-2", "10.79.1.12")
	for _, n := range []*node{one, two} {
		n.startFlannel()
	}
	for _, n := range []*node{one, two} {
		n.waitConfigured()
	}
	client := one.pod("client")
	near, far := one.pod("near"), two.pod("far")
	serve(t, near.namespace, ":80")
	serve(t, far.namespace, ":80")
	serve(t, plane.Namespace(), ":80")

	t.Run("pods reach pods, unmasked", func(t *testing.T) {
		for _, to := range []*pod{near, far} {
			checkCaller(t, client.namespace, to.address.String()+":80", client.address.String())
		}
	})
	t.Run("pods reach the world, masked", func(t *testing.T) {
		checkCaller(t, client.namespace, outside+":80", one.address)
	})
	t.Run("nodes reach pods", func(t *testing.T) {
		checkCaller(t, one.namespace, far.address.String()+":80", one.address)
	})
	t.Run("host ports", func(t *testing.T) { testHostPort(t, plane, one, client, far) })
	t.Run("packets to nobody end", func(t *testing.T) { testNobody(t, client) })
	t.Run("services", func(t *testing.T) { testService(t, plane, one, client, far) })
	t.Run("names", func(t *testing.T) { testNames(t, plane, one, two, client) })
	t.Run("flannel again", func(t *testing.T) { testAgain(t, one, client, far) })
	t.Run("another address", func(t *testing.T) { testAddressChange(t, two, client, far) })
}

func startPlane(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	namespace := addNamespace(t, "plane")
	netns.IP(t, namespace, "link", "add", "br0", "type", "bridge")
	netns.IP(t, namespace, "addr", "add", outside+"/24", "dev", "br0")
	netns.IP(t, namespace, "link", "set", "br0", "up")
	c, err := clusterconfig.Open(t.TempDir(), clusterconfig.Config{Endpoint: outside + ":6443"})
	lab.Must(t, err)
	plane := controlplane.Start(t, namespace, c, controlplane.Programs(t))
	plane.ApplyAddOns()
	return plane
}

func newNode(t *testing.T, plane *controlplane.ControlPlane, images map[string]string, name, address string) *node {
	t.Helper()
	n := &node{t: t, plane: plane, name: name, namespace: addNamespace(t, name), address: address, dir: t.TempDir(), images: images}
	cable := fmt.Sprintf("c%d", netip.MustParseAddr(address).As4()[3])
	netns.IP(t, plane.Namespace(), "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", n.namespace)
	netns.IP(t, plane.Namespace(), "link", "set", cable, "master", "br0", "up")
	netns.IP(t, n.namespace, "link", "set", "eth0", "up")
	n.addAddress()
	for _, dir := range []string{n.bin(), n.etc()} {
		lab.Must(t, os.MkdirAll(dir, 0o755))
	}
	// With an annotation, as each kubelet's node has some: flannel takes that for granted.
	object := fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":%q,"annotations":{"of":"a test"}}}`, name)
	if _, err := plane.TryKubectl(object, "create", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	status := fmt.Sprintf(`{"status":{"addresses":[{"type":"InternalIP","address":%q}]}}`, address)
	plane.Kubectl("patch", "node", name, "--subresource=status", "--patch", status)
	return n
}

func (n *node) addAddress() {
	n.t.Helper()
	netns.IP(n.t, n.namespace, "addr", "add", n.address+"/24", "dev", "eth0")
	netns.IP(n.t, n.namespace, "route", "add", "default", "via", outside)
}

// config writes what the ConfigMap of an add-on says, with a token of its
// service account, and returns the directory.
func (n *node) config(addon string) string {
	n.t.Helper()
	dir := filepath.Join(n.dir, addon)
	secrets := filepath.Join(dir, "serviceaccount")
	lab.Must(n.t, os.MkdirAll(secrets, 0o755))
	files := map[string]string{
		filepath.Join(secrets, "token"):  n.plane.Kubectl("create", "token", addon, "-n", "kube-system"),
		filepath.Join(secrets, "ca.crt"): string(n.plane.Cluster().CA()),
	}
	keys := n.plane.Kubectl("get", "configmap", addon, "-n", "kube-system", "-o", `go-template={{range $k, $v := .data}}{{$k}} {{end}}`)
	for _, key := range strings.Fields(keys) {
		text := n.plane.Kubectl("get", "configmap", addon, "-n", "kube-system", "-o", fmt.Sprintf("go-template={{index .data %q}}", key))
		text = strings.ReplaceAll(text, "/var/run/secrets/kubernetes.io/serviceaccount", secrets)
		files[filepath.Join(dir, key)] = strings.ReplaceAll(text, "/etc/"+addon, dir)
	}
	for path, text := range files {
		lab.Must(n.t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

func (n *node) startFlannel() {
	n.t.Helper()
	config := n.config("flannel")
	image := n.images["flannel"]
	n.flannel = netns.Start(n.t, n.namespace, []string{"PATH=" + os.Getenv("PATH") + ":" + image + "/cni"}, image+"/flanneld",
		"-node", n.name, "-address", n.address,
		"-network", filepath.Join(config, "network.json"), "-kubeconfig", filepath.Join(config, "kubeconfig"),
		"-cni-plugins", image+"/cni", "-cni-bin", n.bin(), "-cni-etc", n.etc(), "-cni-run", filepath.Join(n.dir, "run/flannel"))
}

// waitConfigured waits until flannel has done its work.
func (n *node) waitConfigured() {
	n.t.Helper()
	lab.Eventually(n.t, bound, "flannel of "+n.name, func() error {
		if !strings.Contains(n.flannel.String(), "pods of this node get addresses") {
			return errors.New("it has not said that pods get addresses")
		}
		return nil
	})
}

// bound is for what is waited for.
const bound = 30 * time.Second

// serve tells callers at an address of the namespace by what address it sees them.
func serve(t *testing.T, namespace, address string) {
	t.Helper()
	listener := netns.Listen(t, namespace, address)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			fmt.Fprint(conn, host)
			conn.Close()
		}
	}()
}

func dial(namespace, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return netns.Dial(ctx, namespace, network, address)
}

// call returns as whom the server at the address sees a caller in the namespace.
func call(namespace, address string) (string, error) {
	conn, err := dial(namespace, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	var answer [64]byte
	count, err := conn.Read(answer[:])
	return string(answer[:count]), err
}

// checkCaller calls until there is an answer: routes to other nodes come when
// these have told where they are.
func checkCaller(t *testing.T, namespace, address, want string) {
	t.Helper()
	lab.Eventually(t, bound, "call "+address+" from "+namespace, func() error {
		got, err := call(namespace, address)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("it is seen as %s, want %s", got, want)
		}
		return nil
	})
}

// testHostPort reaches a pod at a port of its node: from outside, from the node
// itself, also at 127.0.0.1, and from pods, until the pod is gone.
func testHostPort(t *testing.T, plane *controlplane.ControlPlane, n *node, near, far *pod) {
	p := n.pod("hostport", port{8080, 80, "tcp"})
	serve(t, p.namespace, ":80")
	checkCaller(t, plane.Namespace(), n.address+":8080", outside)
	checkCaller(t, far.namespace, n.address+":8080", far.node.address) // left its node masked
	checkCaller(t, near.namespace, n.address+":8080", near.address.String())
	for _, from := range []string{n.address, "127.0.0.1"} {
		if _, err := call(n.namespace, from+":8080"); err != nil {
			t.Errorf("the node at %s:8080: %v", from, err)
		}
	}
	p.detach()
	if who, err := call(plane.Namespace(), n.address+":8080"); err == nil {
		t.Errorf("port 8080 still leads somewhere, to %s, though its pod is gone", who)
	}
	p.detach() // containerd may ask twice
}

// testNobody calls a pod address of this node that no pod has.
func testNobody(t *testing.T, from *pod) {
	nobody := from.address.As4()
	nobody[3] = 250
	who, err := call(from.namespace, netip.AddrFrom4(nobody).String()+":80")
	if !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("call the address of no pod = %q, %v, want %v", who, err, syscall.EHOSTUNREACH)
	}
}

// testService starts kube-proxy, and reaches a pod of the other node by the
// address of a Service, and by a node port.
func testService(t *testing.T, plane *controlplane.ControlPlane, n *node, client, far *pod) {
	config := n.config("kube-proxy")
	image := n.images["kube-proxy"]
	// nft of this image expects the libraries where they are in the image; flannel's
	// brings its own, and is the same.
	netns.Start(n.t, n.namespace, []string{"PATH=" + os.Getenv("PATH") + ":" + n.bin()}, image+"/kube-proxy",
		"--config="+filepath.Join(config, "config.yaml"), "--hostname-override="+n.name)
	objects := fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: far}
spec:
  type: NodePort
  clusterIP: %s
  ports: [{port: 8000, targetPort: 80, nodePort: 30080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: far-1
  labels: {kubernetes.io/service-name: far}
addressType: IPv4
ports: [{name: "", port: 80, protocol: TCP}]
endpoints: [{addresses: [%s], conditions: {ready: true}}]
`, service, far.address)
	if _, err := plane.TryKubectl(objects, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	checkCaller(t, client.namespace, service+":8000", client.address.String())
	checkCaller(t, n.namespace, service+":8000", n.address)
	checkCaller(t, plane.Namespace(), n.address+":30080", n.address)
	if _, err := call(client.namespace, service+":8001"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a port that the Service does not have: %v, want connection refused", err)
	}
}

// testNames runs CoreDNS in a pod, and asks it by the address of its Service.
func testNames(t *testing.T, plane *controlplane.ControlPlane, n, two *node, client *pod) {
	p := two.pod("dns")
	config := n.config("coredns")
	secrets := filepath.Join(config, "serviceaccount")
	kubeconfig := strings.ReplaceAll(lab.ReadFile(t, filepath.Join(n.dir, "flannel/kubeconfig")), filepath.Join(n.dir, "flannel/serviceaccount"), secrets)
	corefile := filepath.Join(config, "Corefile")
	text := strings.Replace(lab.ReadFile(t, corefile), "pods insecure", "pods insecure\n        kubeconfig "+filepath.Join(config, "kubeconfig"), 1)
	for path, data := range map[string]string{corefile: text, filepath.Join(config, "kubeconfig"): kubeconfig} {
		lab.Must(t, os.WriteFile(path, []byte(data), 0o600))
	}
	netns.Start(n.t, p.namespace, nil, n.images["coredns"]+"/coredns", "-conf", corefile)
	slice := fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: kube-dns-1
  namespace: kube-system
  labels: {kubernetes.io/service-name: kube-dns}
addressType: IPv4
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
endpoints: [{addresses: [%s], conditions: {ready: true}}]
`, p.address)
	if _, err := plane.TryKubectl(slice, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp", "tcp"} {
		resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return dial(client.namespace, network, dns+":53")
		}}
		lab.Eventually(t, bound, "ask for far by "+network, func() error {
			// Shorter than a resolver's own patience: until kube-proxy has heard of the
			// pod it refuses, but the kernel says so to each caller only now and then.
			ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer stop()
			got, err := resolver.LookupHost(ctx, "far.default.svc.cluster.local.")
			if err == nil && strings.Join(got, " ") != service {
				err = fmt.Errorf("the address of far is %s, want %s", got, service)
			}
			return err
		})
	}
}

// testAgain starts flannel anew, which pods must not notice.
func testAgain(t *testing.T, n *node, client, far *pod) {
	n.flannel.Stop()
	if _, err := call(client.namespace, far.address.String()+":80"); err != nil {
		t.Errorf("while there is no flannel: %v", err)
	}
	n.startFlannel()
	n.waitConfigured()
	if _, err := call(client.namespace, far.address.String()+":80"); err != nil {
		t.Errorf("when flannel is back: %v", err)
	}
	link := filepath.Join(n.etc(), "10-flannel.conflist")
	if to, err := os.Readlink(link); err != nil || to != filepath.Join(n.dir, "run/flannel/10-flannel.conflist") {
		t.Errorf("%s leads to %q (%v), want the file in run, which does not outlive the boot", link, to, err)
	}
}

// testAddressChange gives a node another address: flannel ends with a reason, and
// when it is started again the other nodes find the node's pods.
func testAddressChange(t *testing.T, n *node, client, far *pod) {
	old := n.address
	n.address = "10.79.1.22"
	netns.IP(t, n.namespace, "addr", "del", old+"/24", "dev", "eth0")
	n.addAddress()
	lab.Eventually(t, bound, "the end of flannel", func() error {
		if want := "eth0 no longer has the address " + old; !strings.Contains(n.flannel.String(), want) {
			return fmt.Errorf("it has not said %q", want)
		}
		return nil
	})
	n.flannel.Stop()
	n.startFlannel()
	n.waitConfigured()
	checkCaller(t, client.namespace, far.address.String()+":80", client.address.String())
}
