//go:build cluster

package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/host/arch"
	"kios/host/build"
	"kios/host/clusterconfig"
	"kios/host/qemu"
	"kios/test/lab"
	"kios/test/lab/awslab"
	"kios/test/lab/controlplane"
	"kios/test/lab/netns"
)

// The control plane's end of the network, where the API server and a name server are.
const (
	gateway  = "10.79.0.1"
	gateway6 = "fd00:79::1" // of networks that have IPv6 only
	endpoint = gateway + ":6443"
)

// env is a cluster of a test's own.
type env struct {
	t        *testing.T // when it ends, so does the cluster
	name     string     // of the network namespace
	dir      string     // stays if the test fails
	accel    qemu.Accel
	products *build.ClusterProducts
	nodes    []*node
	ca       string // the cluster's authority, in PEM

	// Both are nil if kubeadm has made the cluster.
	cluster *clusterconfig.Cluster
	plane   *controlplane.ControlPlane
}

// bareEnv makes a network, and no cluster yet.
func bareEnv(t *testing.T, kubernetes string) *env {
	t.Helper()
	return envOn(t, kubernetes, gateway)
}

// envOn makes a network of the address family that its gateway has.
func envOn(t *testing.T, kubernetes, gateway string) *env {
	t.Helper()
	lab.NeedRoot(t)
	e := &env{t: t, products: products(t, kubernetes)}
	e.dir = lab.KeptDir(t)
	e.accel = e.accelOf(t, lab.Arch(t))
	e.makeNetwork(gateway)
	return e
}

// newEnv makes a network and starts a control plane in it.
func newEnv(t *testing.T, cfg clusterconfig.Config) *env {
	t.Helper()
	e := bareEnv(t, cmp.Or(cfg.Kubernetes, newest(t)))
	e.startControlPlane(cfg)
	return e
}

// startControlPlane starts a control plane of ours. The flags are more for the API server.
func (e *env) startControlPlane(cfg clusterconfig.Config, flags ...string) {
	t := e.t
	t.Helper()
	cfg.Kubernetes, cfg.Endpoint = e.products.Kubernetes, cmp.Or(cfg.Endpoint, endpoint)
	var err error
	if e.cluster, err = clusterconfig.Open(filepath.Join(e.dir, "cluster"), cfg); err != nil {
		t.Fatal(err)
	}
	e.ca = string(e.cluster.CA())
	e.plane = controlplane.Start(t, e.name, e.cluster, e.products.Bin, flags...)
	kubeconfig, err := e.cluster.Kubeconfig("")
	lab.Must(t, err)
	lab.WriteFile(t, e.kubeconfig(), string(kubeconfig))
	e.letJoin()
}

func (e *env) makeNetwork(gateway string) {
	e.t.Helper()
	e.name = fmt.Sprintf("kios-%d-%s", os.Getpid(), strings.ToLower(lab.FileName(e.t)))
	netns.Add(e.t, e.name)
	e.ip("link", "add", "lan", "type", "bridge")
	args := []string{"dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null",
		"--user=root", "--pid-file=", "--no-resolv", "--no-hosts", "--listen-address=" + gateway, "--bind-interfaces",
		"--address=/outside.example/" + gateway, "--dhcp-leasefile=" + filepath.Join(e.dir, "leases")}
	// DHCP is for nodes without a network.yaml.
	node, host := nodeAddress, "--dhcp-host=%s,%s"
	if gateway == gateway6 {
		e.ip("addr", "add", gateway+"/64", "dev", "lan", "nodad")
		args = append(args, "--interface=lan", "--enable-ra", "--dhcp-range=fd00:79::,static,64", "--dhcp-option=option6:dns-server,["+gateway+"]")
		node, host = nodeAddress6, "--dhcp-host=%s,[%s]"
	} else {
		e.ip("addr", "add", gateway+"/24", "dev", "lan")
		args = append(args, "--dhcp-range="+gateway+",static", "--dhcp-option=option:router,"+gateway)
	}
	e.ip("link", "set", "lan", "up")
	for i := 1; i < 10; i++ {
		args = append(args, fmt.Sprintf(host, nodeMAC(i), node(i)))
	}
	netns.Start(e.t, e.name, nil, append(args, awslab.DNS(gateway)...)...)
}

func (e *env) ip(args ...string) {
	e.t.Helper()
	netns.IP(e.t, e.name, args...)
}

func (e *env) kubeconfig() string { return filepath.Join(e.dir, "kubeconfig") }

// accelOf is what executes the instructions of machines of an architecture.
func (e *env) accelOf(t *testing.T, a arch.Arch) qemu.Accel {
	t.Helper()
	accel, err := qemu.Probe(t.Context(), a, lab.OutOf(t, a, "vmlinuz"))
	lab.Must(t, err)
	return accel
}

// scale stretches a duration to the machines' speed.
func (e *env) scale(d time.Duration) time.Duration { return e.accel.Scale(d) }

// serve answers HTTP beside the control plane until the test ends.
func (e *env) serve(port int, handler http.Handler) { e.serveTLS(nil, port, handler) }

// serveTLS does so with TLS, if config is not nil.
func (e *env) serveTLS(config *tls.Config, port int, handler http.Handler) {
	e.t.Helper()
	listener := netns.Listen(e.t, e.name, fmt.Sprintf("%s:%d", gateway, port))
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	e.t.Cleanup(func() { server.Close() })
}

// dial connects from where the control plane is.
func (e *env) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return netns.Dial(ctx, e.name, network, address)
}

// curl asks an HTTP server from where the control plane is.
func (e *env) curl(args ...string) (string, error) {
	argv := append([]string{"netns", "exec", e.name, "curl", "--silent", "--show-error", "--max-time", "10"}, args...)
	text, err := exec.Command("ip", argv...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("curl %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return string(text), err
}

// addOns applies what the cluster runs on its nodes: the network of pods,
// services and their names.
func (e *env) addOns() { e.applyAddOns(e.cluster.AddOns) }

// letJoin applies only what lets nodes join.
func (e *env) letJoin() { e.applyAddOns(e.cluster.Access) }

func (e *env) applyAddOns(make func() ([]byte, error)) {
	e.t.Helper()
	manifest, err := make()
	lab.Must(e.t, err)
	e.admin(e.t).apply(string(manifest))
}
