//go:build cluster

package cluster

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kios/host/arch"
	"kios/host/clusterconfig"
	"kios/host/diskimage"
	"kios/host/qemu"
	"kios/test/lab"
	"kios/test/lab/machine"
	"kios/test/lab/netns"
)

// dataOffset is where the data partition begins on a disk that kiOS makes.
const dataOffset = 513 << 20

// setup describes a node before its first boot.
type setup struct {
	name    string
	files   clusterconfig.Files // below /etc; those of a worker that joins with the token if nil
	etc     map[string]string   // other files below /etc, over the former
	without []string            // files of the former that are left out
	arch    string              // the tested one if ""
	memory  int64               // MiB; 1024 if 0
	images  []string            // archives besides those of the tests
	qemu    []string            // more arguments for QEMU
	append  string              // for the kernel's command line
	cloud   bool                // nothing but s.etc: its name, address and cluster come from elsewhere
}

func (s setup) architecture(t *testing.T) arch.Arch {
	t.Helper()
	if s.arch == "" {
		return lab.Arch(t)
	}
	a, err := arch.Find(s.arch)
	lab.Must(t, err)
	return a
}

// node is a machine of the cluster.
type node struct {
	*qemu.Machine
	env     *env
	name    string
	address string
	tap     string // its network interface, as the bridge sees it
	disk    string
	cfg     qemu.Config
}

// boot makes a disk for a node and boots it.
func (e *env) boot(s setup) *node {
	e.t.Helper()
	n := e.prepare(s)
	n.start(e.t)
	return n
}

// prepare makes a disk for a node, and a place on the network.
func (e *env) prepare(s setup) *node {
	e.t.Helper()
	index := len(e.nodes) + 1
	n := &node{
		env: e, name: s.name,
		address: nodeAddress(index),
		tap:     fmt.Sprintf("tap%d", index),
		disk:    filepath.Join(e.dir, s.name+".raw"),
	}
	e.nodes = append(e.nodes, n)
	e.ip("tuntap", "add", n.tap, "mode", "tap")
	e.ip("link", "set", n.tap, "master", "lan", "up")
	n.cfg = n.config(s, nodeMAC(index))
	n.makeDisk(s)
	return n
}

func nodeAddress(index int) string { return fmt.Sprintf("10.79.0.%d", 10+index) }

func nodeAddress6(index int) string { return fmt.Sprintf("fd00:79::%d", 10+index) }

func nodeMAC(index int) string { return fmt.Sprintf("52:54:00:4b:06:%02x", index) }

func (n *node) config(s setup, mac string) qemu.Config {
	t := n.env.t
	t.Helper()
	a := s.architecture(t)
	cmdline := lab.ReadFile(t, lab.OutOf(t, a, "cmdline"))
	dir := filepath.Join(n.env.dir, n.name)
	lab.Must(t, os.Mkdir(dir, 0o755))
	tap := netns.OpenTap(t, n.env.name, n.tap)
	return qemu.Config{
		Arch:   a,
		Kernel: lab.OutOf(t, a, "vmlinuz"), Initrd: lab.OutOf(t, a, "initrd"),
		// PID 1 tells its console of pods during the first minute only, and after
		// that the kernel's log, at this level. Some tests wait for them longer.
		Append:    strings.TrimSpace(cmdline) + " loglevel=7 " + s.append,
		Disks:     []qemu.Disk{{Path: n.disk, Unsafe: true}},
		Memory:    cmp.Or(s.memory, 1024) << 20,
		NoNetwork: true,
		Taps:      []*os.File{tap},
		MAC:       mac,
		Args:      s.qemu,
		Dir:       dir,
		Accel:     n.env.accelOf(t, a),
		Patience:  30 * time.Second,
	}
}

// makeDisk writes the node's files and images to a disk.
func (n *node) makeDisk(s setup) {
	t := n.env.t
	t.Helper()
	files := s.files
	if files == nil && !s.cloud {
		var err error
		if files, err = n.env.cluster.Worker(clusterconfig.Node{Name: n.name}); err != nil {
			t.Fatal(err)
		}
	}
	etc := filepath.Join(n.env.dir, n.name, "etc")
	lab.Must(t, files.Write(etc))
	if !s.cloud {
		lab.WriteFile(t, filepath.Join(etc, "hostname"), n.name+"\n")
		lab.WriteFile(t, filepath.Join(etc, "kios/network.yaml"), networkFile(n.address))
		lab.WriteFile(t, filepath.Join(etc, "kubernetes/manifests/probe.yaml"), probePod)
	}
	for path, text := range s.etc {
		lab.WriteFile(t, filepath.Join(etc, path), text)
	}
	for _, path := range s.without {
		lab.Must(t, os.Remove(filepath.Join(etc, path)))
	}
	err := diskimage.Create(t.Context(), diskimage.Options{
		EFI: lab.OutOf(t, s.architecture(t), "kios.efi"), Etc: etc, OCI: append(testImages(t), s.images...), Size: 3 << 30, Out: n.disk,
	})
	lab.Must(t, err)
}

func networkFile(address string) string {
	return fmt.Sprintf(`interfaces:
  eth0:
    addresses: [%s/24]
    routes: [{to: default, via: %s}]
    dns: [%s]
`, address, gateway, gateway)
}

// probePod is there also where the API server does not know the node.
var probePod = machine.ProbePod(", namespace: kube-system, uid: 70726f62650000000000000000000000", ", priorityClassName: system-node-critical")

// bringProbe runs the probe on a node whose name came late: the kubelet does not find its
// static pods by a new name for exec.
func (n *node) bringProbe(u *user) {
	u.t.Helper()
	u.apply(machine.ProbePod("-"+n.name+", namespace: kube-system", ", nodeName: "+n.name+", tolerations: [{operator: Exists}]"))
}

// start boots the machine with the disk as it is: the first time, or again.
func (n *node) start(t *testing.T) {
	t.Helper()
	m, err := qemu.Start(t.Context(), n.cfg)
	lab.Must(t, err)
	n.Machine = m
	n.env.t.Cleanup(func() {
		failed := n.env.t.Failed()
		if failed {
			n.env.t.Logf("console of %s:\n%s", n.name, machine.Console(m, 60))
		}
		m.Kill()
		if failed {
			n.saveLogs()
		}
	})
}

// saveLogs takes the node's logs from the disk of a machine that is off.
func (n *node) saveLogs() {
	for _, name := range []string{"kubelet", "containerd", "kernel"} {
		text, err := exec.Command("debugfs", "-R", "cat /meta/log/"+name+".log", fmt.Sprintf("%s?offset=%d", n.disk, dataOffset)).Output()
		if err != nil || len(text) == 0 {
			continue
		}
		path := filepath.Join(n.env.dir, n.name, name+".log")
		_ = os.WriteFile(path, text, 0o644)
		if name == "kubelet" {
			n.env.t.Logf("the last lines of %s:\n%s", path, lab.Tail(string(text), 40))
		}
	}
}

// powerOff presses the power button and demands a clean end.
func (n *node) powerOff(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), n.Scale(time.Minute))
	defer cancel()
	end, err := n.PowerOff(ctx, nil)
	lab.Must(t, err)
	if end != qemu.PoweredOff {
		t.Fatalf("the machine of %s has %s, want powered off", n.name, end)
	}
}

// expect waits for a line on the console.
func (n *node) expect(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := n.Expect(t.Context(), regexp.MustCompile(pattern))
	lab.Must(t, err)
	return found
}

// expectLate waits for a line that a node waits minutes for, however fast it is.
func (n *node) expectLate(t *testing.T, pattern string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute+n.Scale(time.Minute))
	defer cancel()
	_, err := n.Expect(ctx, regexp.MustCompile(pattern))
	lab.Must(t, err)
}

// cut takes the node off the network, mend puts it back.
func (n *node) cut()  { n.env.ip("link", "set", n.tap, "nomaster") }
func (n *node) mend() { n.env.ip("link", "set", n.tap, "master", "lan") }

// probe runs the probe on the node, through the API server.
func (n *node) probe(t *testing.T, args ...string) string {
	t.Helper()
	u := n.env.admin(t)
	var text string
	u.eventually("probe "+strings.Join(args, " "), func() (err error) {
		text, err = u.try(append([]string{"exec", "-n", "kube-system", "probe-" + n.name, "--", "/probe"}, args...)...)
		return err
	})
	return text
}

// log returns a log of the node: kubelet, containerd or kernel.
func (n *node) log(u *user, name string) (string, error) {
	return u.try("get", "--raw", "/api/v1/nodes/"+n.name+"/proxy/logs/?query="+name)
}
