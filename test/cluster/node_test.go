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

	"kios/host/clusterconfig"
	"kios/host/diskimage"
	"kios/host/qemu"
	"kios/test/netlab"
)

// dataOffset is where the data partition begins on a disk that kiOS makes.
const dataOffset = 513 << 20

// setup describes a node before its first boot.
type setup struct {
	name    string
	files   clusterconfig.Files // below /etc; those of a worker that joins with the token if nil
	etc     map[string]string   // other files below /etc, over the former
	without []string            // files of the former that are left out
	memory  int64               // MiB; 1024 if 0
	images  []string            // archives besides those of the tests
	qemu    []string            // more arguments for QEMU
	append  string              // for the kernel's command line
}

// node is a machine of the lab.
type node struct {
	*qemu.Machine
	lab     *lab
	name    string
	address string
	tap     string // its network interface, as the lab sees it
	disk    string
	cfg     qemu.Config
}

// boot makes a disk for a node and boots it.
func (l *lab) boot(s setup) *node {
	l.t.Helper()
	n := l.prepare(s)
	n.start(l.t)
	return n
}

// prepare makes a disk for a node, and a place on the network.
func (l *lab) prepare(s setup) *node {
	l.t.Helper()
	index := len(l.nodes) + 1
	n := &node{
		lab: l, name: s.name,
		address: fmt.Sprintf("10.79.0.%d", 10+index),
		tap:     fmt.Sprintf("tap%d", index),
		disk:    filepath.Join(l.dir, s.name+".raw"),
	}
	l.nodes = append(l.nodes, n)
	l.ip("tuntap", "add", n.tap, "mode", "tap")
	l.ip("link", "set", n.tap, "master", "lan", "up")
	n.cfg = n.config(s, fmt.Sprintf("52:54:00:4b:06:%02x", index))
	n.makeDisk(s)
	return n
}

func (n *node) config(s setup, mac string) qemu.Config {
	t := n.lab.t
	t.Helper()
	cmdline, err := os.ReadFile(out + "cmdline")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(n.lab.dir, n.name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tap := netlab.OpenTap(t, n.lab.name, n.tap)
	t.Cleanup(func() { tap.Close() })
	return qemu.Config{
		Kernel: out + "vmlinuz", Initrd: out + "initrd",
		// PID 1 tells its console of pods during the first minute only, and after
		// that the kernel's log, at this level. Some tests wait for them longer.
		Append:    strings.TrimSpace(string(cmdline)) + " loglevel=7 " + s.append,
		Disks:     []qemu.Disk{{Path: n.disk, Unsafe: true}},
		Memory:    cmp.Or(s.memory, 1024) << 20,
		NoNetwork: true,
		Taps:      []*os.File{tap},
		MAC:       mac,
		Args:      s.qemu,
		Dir:       dir,
		Accel:     n.lab.accel,
		Patience:  30 * time.Second,
	}
}

// makeDisk writes the node's files and images to a disk.
func (n *node) makeDisk(s setup) {
	t := n.lab.t
	t.Helper()
	files := s.files
	if files == nil {
		var err error
		if files, err = n.lab.cluster.Worker(clusterconfig.Node{Name: n.name}); err != nil {
			t.Fatal(err)
		}
	}
	etc := filepath.Join(n.lab.dir, n.name, "etc")
	if err := files.Write(etc); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(etc, "hostname"), n.name+"\n")
	writeFile(t, filepath.Join(etc, "kios/network.yaml"), networkFile(n.address))
	writeFile(t, filepath.Join(etc, "kubernetes/manifests/probe.yaml"), probePod)
	for path, text := range s.etc {
		writeFile(t, filepath.Join(etc, path), text)
	}
	for _, path := range s.without {
		if err := os.Remove(filepath.Join(etc, path)); err != nil {
			t.Fatal(err)
		}
	}
	err := diskimage.Create(t.Context(), diskimage.Options{
		EFI: out + "kios.efi", Etc: etc, OCI: append(testImages(t), s.images...), Size: 3 << 30, Out: n.disk,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func networkFile(address string) string {
	return fmt.Sprintf(`interfaces:
  eth0:
    addresses: [%s/24]
    routes: [{to: default, via: %s}]
    dns: [%s]
`, address, gateway, gateway)
}

// probePod is a pod that can look at everything on its node, and change it. It
// uses nothing of the cluster: where the API server does not know the node, it
// is there all the same.
const probePod = `apiVersion: v1
kind: Pod
metadata: {name: probe, namespace: kube-system, uid: 70726f62650000000000000000000000}
spec:
  hostNetwork: true
  hostPID: true
  priorityClassName: system-node-critical
  terminationGracePeriodSeconds: 1
  containers:
  - name: probe
    image: kios.local/probe:1
    command: [/probe, sleep]
    securityContext: {privileged: true}
    volumeMounts:
    - {name: host, mountPath: /host, mountPropagation: HostToContainer}
  volumes:
  - {name: host, hostPath: {path: /}}
`

// start boots the machine with the disk as it is: the first time, or again.
func (n *node) start(t *testing.T) {
	t.Helper()
	m, err := qemu.Start(t.Context(), n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Machine = m
	n.lab.t.Cleanup(func() {
		failed := n.lab.t.Failed()
		if failed {
			n.lab.t.Logf("console of %s:\n%s", n.name, tail(m, 60))
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
		path := filepath.Join(n.lab.dir, n.name, name+".log")
		_ = os.WriteFile(path, text, 0o644)
		if name == "kubelet" {
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			n.lab.t.Logf("the last lines of %s:\n%s", path, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
	}
}

// powerOff presses the power button and demands a clean end.
func (n *node) powerOff(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), n.Scale(time.Minute))
	defer cancel()
	end, err := n.PowerOff(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if end != qemu.PoweredOff {
		t.Fatalf("the machine of %s has %s, want powered off", n.name, end)
	}
}

// expect waits for a line on the console.
func (n *node) expect(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := n.Expect(t.Context(), regexp.MustCompile(pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// cut takes the node off the network, mend puts it back.
func (n *node) cut()  { n.lab.ip("link", "set", n.tap, "nomaster") }
func (n *node) mend() { n.lab.ip("link", "set", n.tap, "master", "lan") }

// probe runs the probe on the node, through the API server.
func (n *node) probe(t *testing.T, args ...string) string {
	t.Helper()
	u := n.lab.admin(t)
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

func tail(m *qemu.Machine, lines int) string {
	var b strings.Builder
	for _, l := range m.Tail(lines) {
		fmt.Fprintf(&b, "%10.3f  %s\n", l.At.Seconds(), l.Text)
	}
	return b.String()
}
