//go:build image

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/host/diskimage"
	"kios/host/kubeletapi"
	"kios/host/pki"
	"kios/host/qemu"
	"kios/test/lab"
	"kios/test/lab/machine"
)

// nodeName is the hostname of every node here, unless a test gives another.
const nodeName = "node"

// systemPods are the pods that the OS brings.
var systemPods = []string{"disk", "metadata", "modules", "network", "node", "time"}

// brief are those of them that soon have nothing left to do, and end.
var brief = []string{"disk", "metadata"}

// spared are those of them that do nothing for most tests.
var spared = []string{"metadata", "modules", "node", "time"}

// setup describes a node before its first boot.
type setup struct {
	uefi   bool              // else direct kernel boot
	efi    string            // in place of kios.efi
	noName bool              // leave out /etc/hostname
	signs  bool              // it has the key of the test's authority, and makes its certificate itself
	few    bool              // leave out the spared pods: emulated, each costs every boot seconds
	memory int64             // MiB; 512 if 0
	pods   map[string]string // manifests by name; the probe is added
	etc    map[string]string // other files below /etc
	images []string          // archives besides hello.tar and probe.tar
	extra  map[string]string // files of the data partition, unchecked
	append string            // added to the kernel's command line; direct boot only
	diskMB int64             // size of the disk; 2048 if 0

	// Hardware other than virtio, as far as QEMU has it, is given to tests of
	// something else that need the data partition and the network anyhow.
	bus, card string
}

// node is a booted machine.
type node struct {
	*qemu.Machine
	t      *testing.T
	name   string // of the node
	access kubeletapi.Options
	api    *kubeletapi.Client
	cfg    qemu.Config
	disk   string
}

// boot makes a disk for the node and boots it.
func boot(t *testing.T, s setup) *node {
	t.Helper()
	n := prepare(t, s)
	n.start()
	return n
}

// prepare makes a disk for the node. Its machine may be changed before start.
func prepare(t *testing.T, s setup) *node {
	t.Helper()
	n := &node{t: t, name: nodeName, disk: filepath.Join(t.TempDir(), "disk.raw")}
	n.makeDisk(s)
	n.cfg = n.config(s)
	return n
}

// config is the machine that s asks for.
func (n *node) config(s setup) qemu.Config {
	cfg := qemu.Config{
		Arch:     lab.Arch(n.t),
		Memory:   max(s.memory, 512) << 20,
		Forward:  []qemu.Port{{Guest: kubeletapi.Port}},
		Isolated: true,
		Dir:      n.t.TempDir(),
		Disks:    []qemu.Disk{{Path: n.disk, Bus: s.bus}},
		Card:     s.card,
		Patience: 20 * time.Second,
	}
	if s.memory != 0 {
		cfg.Memory = s.memory << 20
	}
	accel, err := qemu.Probe(n.t.Context(), cfg.Arch, lab.Out(n.t, "vmlinuz"))
	n.must(err)
	cfg.Accel = accel
	if !s.uefi {
		cmdline, err := os.ReadFile(lab.Out(n.t, "cmdline"))
		n.must(err)
		cfg.Kernel, cfg.Initrd = lab.Out(n.t, "vmlinuz"), lab.Out(n.t, "initrd")
		cfg.Append = strings.TrimSpace(strings.TrimSpace(string(cmdline)) + " " + s.append)
	}
	return cfg
}

// makeDisk writes the disk with what the tests put on every node: a name, the
// authority of the test's client, the kubelet's certificate, the pods.
func (n *node) makeDisk(s setup) {
	n.t.Helper()
	ca, err := pki.NewCA("kiOS test")
	n.must(err)
	server, err := ca.Server(nodeName, "localhost", "127.0.0.1")
	n.must(err)
	client, err := ca.Client("test")
	n.must(err)
	n.access = kubeletapi.Options{ServerName: nodeName, CA: ca.Cert(), Cert: client.Cert, Key: client.Key}

	etc := n.t.TempDir()
	files := map[string]string{
		"hostname":                        nodeName + "\n",
		"kubernetes/pki/ca.crt":           string(ca.Cert()),
		"kubernetes/manifests/probe.yaml": probe,
	}
	if s.noName {
		delete(files, "hostname")
	}
	if s.signs {
		key, err := ca.Key()
		n.must(err)
		files["kubernetes/pki/ca.key"] = string(key)
		n.access.ServerName = "localhost" // whatever it is called
	}
	if s.few {
		for _, name := range spared {
			files["kubernetes/manifests/"+name+".yaml"] = "" // removes it
		}
	}
	for name, text := range s.pods {
		files["kubernetes/manifests/"+name+".yaml"] = text
	}
	for path, text := range s.etc {
		files[path] = text
	}
	images := append([]string{lab.Out(n.t, "hello.tar"), machine.Image(n.t, "probe", "probe")}, s.images...)
	for path, text := range files {
		lab.WriteFile(n.t, filepath.Join(etc, path), text)
	}
	extra := map[string]diskimage.File{
		"data/lib/kubelet/pki/kubelet-server.crt": {Mode: 0o644, Data: server.Cert},
		"data/lib/kubelet/pki/kubelet-server.key": {Mode: 0o600, Data: server.Key},
	}
	for path, text := range s.extra {
		extra[path] = diskimage.File{Mode: 0o644, Data: []byte(text)}
	}
	if s.diskMB == 0 {
		s.diskMB = 2048
	}
	n.must(diskimage.Create(n.t.Context(), diskimage.Options{
		EFI: cmp.Or(s.efi, lab.Out(n.t, "kios.efi")), Etc: etc, OCI: images, Extra: extra, Size: s.diskMB << 20, Out: n.disk,
	}))
}

// start boots the machine with the disk as it is: the first time, or again.
func (n *node) start() {
	n.t.Helper()
	m, err := qemu.Start(n.t.Context(), n.cfg)
	n.must(err)
	n.Machine = m
	n.t.Cleanup(func() {
		m.Kill()
		if n.t.Failed() {
			n.t.Log("console:\n" + machine.Console(m, 60))
		}
	})
	n.access.Addr = m.Addr(kubeletapi.Port)
	n.api, err = kubeletapi.New(n.access)
	n.must(err)
}

// expect waits for a line on the console.
func (n *node) expect(pattern string) []string {
	n.t.Helper()
	found, err := n.Expect(n.t.Context(), regexp.MustCompile(pattern))
	n.must(err)
	return found
}

// eventually repeats try until it returns nil.
func (n *node) eventually(what string, try func(context.Context) error) {
	n.t.Helper()
	n.must(n.Eventually(context.WithoutCancel(n.t.Context()), what, try))
}

// pod waits until the pod's containers run, and returns it.
func (n *node) running(name string) kubeletapi.Pod {
	n.t.Helper()
	return n.podWith(name, "running", func(p kubeletapi.Pod) bool { return p.Done() })
}

// podWith waits until the pod is as want demands, and returns it.
func (n *node) podWith(name, what string, want func(kubeletapi.Pod) bool) kubeletapi.Pod {
	n.t.Helper()
	var pod kubeletapi.Pod
	n.eventually("pod "+name+" "+what, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, n.Scale(2*time.Second))
		defer cancel()
		pods, err := n.api.Pods(ctx)
		if err != nil {
			return err
		}
		namespace := "default"
		if slices.Contains(systemPods, name) {
			namespace = "kube-system"
		}
		found, ok := kubeletapi.Find(pods, namespace, name)
		if !ok {
			return fmt.Errorf("the kubelet has no pod %s", name)
		}
		if !want(found) {
			return fmt.Errorf("the pod is %+v", found)
		}
		pod = found
		return nil
	})
	return pod
}

// logs returns what the pod's only container wrote.
func (n *node) logs(name string) string {
	n.t.Helper()
	text, err := n.api.Logs(n.t.Context(), "default", name+"-"+n.name, "main")
	n.must(err)
	return string(text)
}

// tryProbe runs the probe on the node.
func (n *node) tryProbe(ctx context.Context, args ...string) (string, error) {
	text, err := n.api.Run(ctx, "default", "probe-"+n.name, "probe", append([]string{"/probe"}, args...)...)
	return string(text), err
}

// probe runs the probe on the node once it answers.
func (n *node) probe(args ...string) string {
	n.t.Helper()
	var text string
	n.eventually("probe "+strings.Join(args, " "), func(ctx context.Context) (err error) {
		text, err = n.tryProbe(ctx, args...)
		return err
	})
	return text
}

// probeJSON runs the probe and decodes what it prints into v.
func (n *node) probeJSON(v any, args ...string) {
	n.t.Helper()
	text := n.probe(args...)
	if err := json.Unmarshal([]byte(text), v); err != nil {
		n.t.Fatalf("probe %v printed %.200q: %v", args, text, err)
	}
}

// powerOff presses the power button and demands a clean end.
func (n *node) powerOff() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), n.Scale(time.Minute))
	defer cancel()
	end, err := n.PowerOff(ctx, nil)
	n.must(err)
	if end != qemu.PoweredOff {
		n.t.Fatalf("the machine has %s, want powered off", end)
	}
}

// reboot starts the machine again with the disk as the last boot left it.
func (n *node) reboot() {
	n.t.Helper()
	n.start()
}

func (n *node) must(err error) {
	n.t.Helper()
	lab.Must(n.t, err)
}
