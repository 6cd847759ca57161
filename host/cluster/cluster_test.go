package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"kios/host/arch"
	"kios/host/clusterconfig"
	"kios/host/qemu"
	"kios/test/lab"
)

// withWorkers is a new cluster, a, with workers like its host.
func withWorkers(t *testing.T, s State, workers int) *Cluster {
	t.Helper()
	c, err := New("a", s, arch.Host())
	lab.Must(t, err)
	lab.Must(t, c.AddWorkers(workers, arch.Host()))
	return c
}

func TestState(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	if _, err := Open("a"); !errors.Is(err, ErrNone) {
		t.Fatalf("Open = %v, want %v", err, ErrNone)
	}
	c := withWorkers(t, State{Kubernetes: "v1.37.2", Firmware: "direct", Memory: 1 << 30, ControlPlaneMemory: 2 << 30, CPUs: 2, Port: 16443}, 2)
	lab.Must(t, errors.Join(c.makeDirs(), c.save()))
	again, err := Open("a")
	lab.Must(t, err)
	if again.found == nil {
		t.Error("it is not known what cluster.json was")
	}
	c.found = again.found
	if diff := cmp.Diff(c, again, cmp.AllowUnexported(Cluster{}), cmp.Comparer(func(a, b Node) bool { return a == b })); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if got, want := again.nodeNames(), "control-plane, worker-1, worker-2"; got != want {
		t.Errorf("nodes are %s, want %s", got, want)
	}
	if names, err := Names(); err != nil || !cmp.Equal(names, []string{"a"}) {
		t.Errorf("Names = %v, %v", names, err)
	}
	if st, err := os.Stat(c.Dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v; want it closed to others", st.Mode(), err)
	}
	if running := again.Running(); len(running) != 0 {
		t.Errorf("Running = %v", running)
	}
	lab.Must(t, again.Purge())
	if _, err := Open("a"); !errors.Is(err, ErrNone) {
		t.Errorf("Open after Purge = %v, want %v", err, ErrNone)
	}
}

func TestNodes(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	c := withWorkers(t, State{}, 1)
	lab.Must(t, c.AddWorkers(3, arch.Host()))
	seen := map[string]bool{}
	for _, n := range c.Nodes {
		for _, id := range []string{n.Name, n.Address.String(), n.MAC} {
			if seen[id] {
				t.Errorf("%s is there twice", id)
			}
			seen[id] = true
		}
		if !subnet.Contains(n.Address) {
			t.Errorf("%s is not in %s", n.Address, subnet)
		}
	}
	if !seen["10.77.0.10"] || !seen["10.77.0.13"] || !seen["worker-3"] {
		t.Errorf("nodes are %v", c.Nodes)
	}
	for _, workers := range []int{2, -1, MaxWorkers + 1} {
		if err := c.AddWorkers(workers, arch.Host()); err == nil {
			t.Errorf("AddWorkers(%d) = nil", workers)
		}
	}
	if _, err := c.Node("worker-9"); err == nil || !strings.Contains(err.Error(), "worker-3") {
		t.Errorf("Node(worker-9) = %v, want an error that lists the nodes", err)
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"a": true, "a-1": true, "": false, "../x": false, "A": false, "a/b": false, "-a": false, strings.Repeat("a", 33): false} {
		if _, err := locate(name); (err == nil) != ok {
			t.Errorf("locate(%q) = %v", name, err)
		}
	}
}

// TestChanged has a process that opened the cluster before another changed it, and
// one that found none before another made it.
func TestChanged(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	late := withWorkers(t, State{}, 1)
	first := withWorkers(t, State{}, 1)
	lab.Must(t, errors.Join(first.makeDirs(), first.checkUnchanged(), first.save()))
	second, err := Open("a")
	lab.Must(t, err)
	if err := second.checkUnchanged(); err != nil {
		t.Error(err)
	}
	first.Port = 1
	lab.Must(t, first.save())
	for _, c := range []*Cluster{late, second} {
		if err := c.checkUnchanged(); !errors.Is(err, ErrBusy) {
			t.Errorf("checkUnchanged = %v, want %v", err, ErrBusy)
		}
	}
}

// TestRemains purges a cluster that cannot be opened any more.
func TestRemains(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	if _, err := Remains("a"); !errors.Is(err, ErrNone) {
		t.Fatalf("Remains = %v, want %v", err, ErrNone)
	}
	c := withWorkers(t, State{}, 1)
	lab.Must(t, errors.Join(c.makeDirs(), os.MkdirAll(c.NodeDir("worker-1"), 0o700), os.WriteFile(c.path("cluster.json"), nil, 0o600)))
	if _, err := Open("a"); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("Open = %v, want that the file is spoilt", err)
	}
	left, err := Remains("a")
	if err != nil || left.nodeNames() != "control-plane, worker-1" {
		t.Fatalf("Remains = %+v, %v", left, err)
	}
	lab.Must(t, left.Purge())
	if _, err := os.Stat(c.Dir); err == nil {
		t.Errorf("there is still %s", c.Dir)
	}
}

func TestLock(t *testing.T) {
	c := &Cluster{Name: "a", Dir: t.TempDir()}
	unlock, err := c.lock()
	lab.Must(t, err)
	if _, err := c.lock(); err == nil {
		t.Error("two have locked the cluster")
	}
	unlock()
	if unlock, err = c.lock(); err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestNodeFiles(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	c := withWorkers(t, State{Kubernetes: "v1.37.2"}, 1)
	keys, err := c.keys(qemu.TCG)
	lab.Must(t, err)
	p := NodeProducts{ControlPlane: []string{"etcd.tar"}, Worker: []string{"coredns.tar"}}
	for _, tt := range []struct {
		node       Node
		has, lacks string
		image      string
	}{
		{c.Nodes[0], "meta/etc/kubernetes/manifests/etcd.yaml", "meta/etc/kubernetes/bootstrap-kubelet.conf", "etcd.tar"},
		{c.Nodes[1], "meta/etc/kubernetes/bootstrap-kubelet.conf", "meta/etc/kubernetes/pki/ca.key", "coredns.tar"},
	} {
		files, images, err := c.nodeFiles(tt.node, keys, p)
		lab.Must(t, err)
		if _, ok := files[tt.has]; !ok {
			t.Errorf("%s has no %s", tt.node.Name, tt.has)
		}
		if _, ok := files[tt.lacks]; ok {
			t.Errorf("%s has a %s", tt.node.Name, tt.lacks)
		}
		if got := string(files["meta/etc/hostname"].Data); got != tt.node.Name+"\n" {
			t.Errorf("%s: its name is %q", tt.node.Name, got)
		}
		if !cmp.Equal(images, []string{tt.image}) {
			t.Errorf("%s: its images are %q", tt.node.Name, images)
		}
	}
}

func TestNetworkFile(t *testing.T) {
	var got any
	lab.Must(t, yaml.UnmarshalStrict(newNode(1, arch.Host()).network(), &got))
	want := map[string]any{"interfaces": map[string]any{
		"cluster": map[string]any{
			"mac": "52:54:00:4b:4d:0b", "addresses": []any{"10.77.0.11/24"}, "ra": false,
		},
		"outside": map[string]any{
			"mac": qemu.UserMAC, "addresses": []any{"10.0.2.15/24"},
			"routes": []any{map[string]any{"to": "default", "via": "10.0.2.2"}},
			"dns":    []any{"10.0.2.3"}, "ra": false,
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("network.yaml (-want +got):\n%s", diff)
	}
}

func TestMemory(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	c := withWorkers(t, State{Memory: 1 << 30, ControlPlaneMemory: 1536 << 20}, 2)
	for accel, limit := range map[qemu.Accel]int64{qemu.TCG: 6 << 30, qemu.KVM: 4 << 30} {
		if got := c.need(Accels{arch.Host().Name: accel}); got > limit {
			t.Errorf("with %s the cluster of the defaults needs %d MiB, more than %d", accel, got>>20, limit>>20)
		}
	}
	c.Memory = 1 << 50
	if err := c.CheckMemory(Accels{arch.Host().Name: qemu.KVM}); err == nil || !strings.Contains(err.Error(), "--memory") {
		t.Errorf("CheckMemory = %v, want an error that says how to ask for less", err)
	}
}

func TestMachine(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	c := withWorkers(t, State{Firmware: "direct", Memory: 1, ControlPlaneMemory: 2, CPUs: 3}, 1)
	lab.WriteFile(t, c.bootFile(arch.Host().Name, "cmdline"), "a b\n")
	m, err := c.machine(c.Nodes[0], "tcg")
	if err != nil || m.Arch.Name != arch.Host().Name || m.Memory != 2 || m.Append != "a b loglevel=7" || m.Switch != filepath.Join(c.Dir, "network/control-plane.sock") {
		t.Errorf("machine = %+v, %v", m, err)
	}
	for _, tt := range []struct {
		cpus  int
		node  Node
		accel qemu.Accel
		host  int
		want  int
	}{
		{3, c.Nodes[1], qemu.TCG, 2, 3},
		{0, c.Nodes[0], qemu.TCG, 2, 2},
		{0, c.Nodes[1], qemu.TCG, 2, 1},
		{0, c.Nodes[1], qemu.TCG, 4, 2},
		{0, c.Nodes[1], qemu.KVM, 2, 2},
	} {
		c.CPUs = tt.cpus
		if got := c.cpus(tt.node, tt.accel, tt.host); got != tt.want {
			t.Errorf("--cpus %d: %s has %d processors with %s on a host with %d, want %d", tt.cpus, tt.node.Name, got, tt.accel, tt.host, tt.want)
		}
	}
	c.Firmware = "uefi"
	if m, err = c.machine(c.Nodes[1], "tcg"); err != nil || m.Memory != 1 || m.Kernel != "" {
		t.Errorf("machine = %+v, %v", m, err)
	}
}

// A kubeconfig of package clusterconfig is one that the client understands.
func TestKubeconfig(t *testing.T) {
	keys, err := clusterconfig.Open(t.TempDir(), clusterconfig.Config{Endpoint: "10.77.0.10:6443"})
	lab.Must(t, err)
	kubeconfig, err := keys.Kubeconfig("https://127.0.0.1:1")
	lab.Must(t, err)
	a, err := NewAPI(kubeconfig)
	if err != nil || a.server.URL() != "https://127.0.0.1:1" {
		t.Errorf("NewAPI = %+v, %v", a, err)
	}
	for _, text := range []string{"", "{", "clusters: [{}]"} {
		if _, err := NewAPI([]byte(text)); err == nil {
			t.Errorf("NewAPI(%q) = nil", text)
		}
	}
}
