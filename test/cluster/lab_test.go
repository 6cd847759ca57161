//go:build cluster

package cluster

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/host/build"
	"kios/host/clusterconfig"
	"kios/host/qemu"
	"kios/test/controlplane"
	"kios/test/netlab"
)

// The lab's end of its network, where the API server and a name server are.
const (
	gateway  = "10.79.0.1"
	endpoint = gateway + ":6443"
)

// lab is a cluster of a test's own.
type lab struct {
	t        *testing.T // when it ends, so does the lab
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

// bareLab makes a network, and no cluster yet.
func bareLab(t *testing.T, kubernetes string) *lab {
	t.Helper()
	l := &lab{t: t, products: products(t, kubernetes)}
	l.dir = keptDir(t)
	var err error
	if l.accel, err = qemu.Probe(t.Context(), out+"vmlinuz"); err != nil {
		t.Fatal(err)
	}
	l.makeNetwork()
	return l
}

// newLab makes a network and starts a control plane in it.
func newLab(t *testing.T, cfg clusterconfig.Config) *lab {
	t.Helper()
	if cfg.Kubernetes == "" {
		cfg.Kubernetes = newest(t)
	}
	cfg.Endpoint = endpoint
	l := bareLab(t, cfg.Kubernetes)
	var err error
	if l.cluster, err = clusterconfig.Open(filepath.Join(l.dir, "cluster"), cfg); err != nil {
		t.Fatal(err)
	}
	l.ca = string(l.cluster.CA())
	l.plane = controlplane.Start(t, l.name, l.cluster, l.products.Bin)
	kubeconfig, err := l.cluster.Kubeconfig("")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, l.kubeconfig(), string(kubeconfig))
	l.letJoin()
	return l
}

// fileName is the test's name as part of that of a file, also in a subtest.
func fileName(t *testing.T) string { return strings.ReplaceAll(t.Name(), "/", "-") }

// keptDir is a directory that goes away only if the test passes.
func keptDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "kios-"+fileName(t)+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			os.RemoveAll(dir)
			return
		}
		t.Logf("everything is kept in %s", dir)
	})
	return dir
}

func (l *lab) makeNetwork() {
	l.t.Helper()
	l.name = fmt.Sprintf("kios-%d-%s", os.Getpid(), strings.ToLower(fileName(l.t)))
	netlab.Run(l.t, "ip", "netns", "add", l.name)
	l.t.Cleanup(func() { netlab.Run(l.t, "ip", "netns", "del", l.name) })
	l.ip("link", "add", "lan", "type", "bridge")
	l.ip("addr", "add", gateway+"/24", "dev", "lan")
	l.ip("link", "set", "lan", "up")
	l.ip("link", "set", "lo", "up")
	netlab.Start(l.t, l.name, nil, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null",
		"--user=root", "--pid-file=", "--no-resolv", "--no-hosts", "--listen-address="+gateway, "--bind-interfaces",
		"--address=/outside.example/"+gateway)
}

func (l *lab) ip(args ...string) {
	l.t.Helper()
	netlab.Run(l.t, "ip", append([]string{"-n", l.name}, args...)...)
}

func (l *lab) kubeconfig() string { return filepath.Join(l.dir, "kubeconfig") }

// scale stretches a duration to the machines' speed.
func (l *lab) scale(d time.Duration) time.Duration { return l.accel.Scale(d) }

// serve answers HTTP in the lab until the test ends.
func (l *lab) serve(port int, handler http.Handler) {
	l.t.Helper()
	listener := netlab.Listen(l.t, l.name, fmt.Sprintf("%s:%d", gateway, port))
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	l.t.Cleanup(func() { server.Close() })
}

// curl asks an HTTP server from where the control plane is.
func (l *lab) curl(args ...string) (string, error) {
	argv := append([]string{"netns", "exec", l.name, "curl", "--silent", "--show-error", "--max-time", "10"}, args...)
	text, err := exec.Command("ip", argv...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("curl %s: %w: %s", strings.Join(args, " "), err, text)
	}
	return string(text), err
}

// addOns applies what the cluster runs on its nodes: the network of pods,
// services and their names.
func (l *lab) addOns() { l.applyAddOns(l.cluster.AddOns) }

// letJoin applies only what lets nodes join.
func (l *lab) letJoin() { l.applyAddOns(l.cluster.Access) }

func (l *lab) applyAddOns(make func() ([]byte, error)) {
	l.t.Helper()
	manifest, err := make()
	if err != nil {
		l.t.Fatal(err)
	}
	l.admin(l.t).apply(string(manifest))
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
