//go:build image

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/host/kubeletapi"
	"kios/test/lab/machine"
)

// facts is what the probe tells of a node; see test/guest/probe.
type facts struct {
	Processes []process
	Mounts    []struct {
		Target, Type string
		Options      []string
	}
	Sockets []struct{ Kind, Address, Process string }
	Root    []struct {
		Path, Mode, Target string
		Size               int64
		Setuid             bool
	}
	Memory struct{ Total, Available int64 }
	Boot   struct {
		Events []struct{ Name string }
	}
	Sysctls map[string]string
}

// process is one of a node's or of its pods.
type process struct {
	PID    int
	Name   string
	Exe    string
	Kernel bool
	Host   bool
	Mounts int
	Status []string
}

// sandboxes are the processes that hold pods' namespaces.
func (f facts) sandboxes() []process {
	return slices.DeleteFunc(slices.Clone(f.Processes), func(p process) bool { return p.Name != "pause" })
}

// inventory is the part of "kios inspect --json" that a node is compared with.
type inventory struct {
	Files, Links []struct{ Path string }
	Processes    []struct{ Name, Path string }
}

// TestUEFI boots one node as a real machine does, with a screen, and with a pod and
// an image that are not part of kiOS, and compares it with what kios inspect promises.
func TestUEFI(t *testing.T) {
	n := prepare(t, setup{
		uefi:   true,
		images: []string{machine.Image(t, "user", "hello")},
		pods:   map[string]string{"user": strings.ReplaceAll(pod("user", "/var/lib/user"), "/hello:1", "/user:1")},
	})
	n.cfg.Args = []string{"-device", n.cfg.Arch.QEMU.Screen}
	n.start()
	n.expect(`containerd ready`)
	n.expect(`kubelet ready`)
	n.expect(`pod default/user.* container main started`)
	n.running("user")
	if got := n.logs("user"); !strings.Contains(got, "hello from "+nodeName) {
		t.Errorf("the pod wrote %q", got)
	}
	n.running("probe")
	for _, name := range systemPods {
		n.running(name)
	}
	for _, name := range brief {
		n.podWith(name, "ended", func(p kubeletapi.Pod) bool { return p.Phase == "Succeeded" })
	}

	var f facts
	n.eventually("no sandbox but of pods that run", func(context.Context) error {
		// The kubelet says that a pod has ended before it ends its sandbox.
		f = facts{}
		n.probeJSON(&f, "show")
		if got, want := len(f.sandboxes()), 2+len(systemPods)-len(brief); got != want {
			return fmt.Errorf("%d sandboxes, want %d: those of 2 pods and of the system's that go on", got, want)
		}
		return nil
	})
	var promise inventory
	machine.Inspect(t, &promise)
	t.Run("screen", func(t *testing.T) { checkScreen(t, n) })
	t.Run("files", func(t *testing.T) { checkFiles(t, f, promise) })
	t.Run("processes", func(t *testing.T) { checkProcesses(t, f, promise) })
	t.Run("sandboxes", func(t *testing.T) { checkSandboxes(t, f) })
	t.Run("mounts", func(t *testing.T) { checkMounts(t, f) })
	t.Run("sockets", func(t *testing.T) { checkSockets(t, f) })
	t.Run("sysctls", func(t *testing.T) { checkSysctls(t, n) })
	t.Run("anonymous", func(t *testing.T) { checkAnonymous(t, n) })
	n.powerOff()
	n.demandCleanDisk()
}

func checkFiles(t *testing.T, f facts, promise inventory) {
	var want, got []string
	for _, p := range slices.Concat(promise.Files, promise.Links) {
		want = append(want, p.Path)
	}
	for _, r := range f.Root {
		if strings.HasPrefix(r.Mode, "d") {
			continue
		}
		got = append(got, r.Path)
		if r.Setuid {
			t.Errorf("%s is setuid or setgid", r.Path)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files of the root (-promised +found):\n%s", diff)
	}
	var binaries []string
	for _, r := range f.Root {
		if strings.HasPrefix(r.Mode, "-") && strings.Contains(r.Mode, "x") {
			binaries = append(binaries, r.Path)
		}
	}
	slices.Sort(binaries)
	five := []string{"/bin/containerd", "/bin/containerd-shim-runc-v2", "/bin/init", "/bin/kubelet", "/bin/runc"}
	if diff := cmp.Diff(five, binaries); diff != "" {
		t.Errorf("executable files (-want +got):\n%s", diff)
	}
}

func checkProcesses(t *testing.T, f facts, promise inventory) {
	count := map[string]int{}
	for _, p := range f.Processes {
		if p.Kernel || !p.Host {
			continue
		}
		count[p.Exe]++
		if !slices.ContainsFunc(promise.Processes, func(q struct{ Name, Path string }) bool { return q.Path == p.Exe }) {
			t.Errorf("process %d, %s (%s), is not promised", p.PID, p.Name, p.Exe)
		}
	}
	for _, exe := range []string{"/bin/init", "/bin/containerd", "/bin/kubelet"} {
		if count[exe] != 1 {
			t.Errorf("%d processes of %s, want 1", count[exe], exe)
		}
	}
	if shims := count["/bin/containerd-shim-runc-v2"]; shims != 3 {
		t.Errorf("%d shims, want one for each of 2 pods and one for those of the system", shims)
	}
}

// checkSandboxes demands that the shim has started the pods' sandboxes itself:
// those that it leaves to runc see more than their image.
func checkSandboxes(t *testing.T, f facts) {
	want := []string{"Uid 65535 65535 65535 65535", "CapEff 0000000000000000", "NoNewPrivs 1", "Seccomp 2"}
	for _, p := range f.sandboxes() {
		if p.Mounts != 1 || !slices.Equal(p.Status, want) {
			t.Errorf("sandbox %d sees %d mounts and is %q, want 1 and %q", p.PID, p.Mounts, p.Status, want)
		}
	}
}

// checkMounts demands nosuid and nodev everywhere but on the root, and noexec
// but where programs of pods lie.
func checkMounts(t *testing.T, f facts) {
	devices := map[string]bool{"/dev": true, "/dev/pts": true}
	programs := map[string]bool{"/var/lib/kubelet/pods": true, "/var/opt/cni/bin": true, "/var/opt/kios/bin": true, "/usr/libexec/kubernetes/kubelet-plugins": true}
	seen := map[string]bool{}
	for _, m := range f.Mounts {
		seen[m.Target] = true
		has := func(option string) bool { return slices.Contains(m.Options, option) }
		switch {
		case m.Target == "/":
			if m.Type == "erofs" && !has("ro") {
				t.Errorf("the root is mounted %v, want ro", m.Options)
			}
			continue
		case strings.HasPrefix(m.Target, "/run/containerd/"), strings.HasPrefix(m.Target, "/var/lib/kubelet/pods/"), strings.HasPrefix(m.Target, "/run/netns"):
			continue // containers' own
		}
		if !has("nosuid") {
			t.Errorf("%s (%s) lacks nosuid: %v", m.Target, m.Type, m.Options)
		}
		if !has("nodev") && !devices[m.Target] {
			t.Errorf("%s (%s) lacks nodev: %v", m.Target, m.Type, m.Options)
		}
		if !has("noexec") && !programs[m.Target] {
			t.Errorf("%s (%s) lacks noexec: %v", m.Target, m.Type, m.Options)
		}
	}
	for _, target := range []string{"/", "/etc", "/proc", "/run", "/sys", "/sys/fs/cgroup", "/tmp", "/var", "/var/lib", "/var/log"} {
		if !seen[target] {
			t.Errorf("nothing is mounted on %s", target)
		}
	}
}

// checkSockets demands that the kubelet's port is the only one that the network
// reaches.
func checkSockets(t *testing.T, f facts) {
	for _, s := range f.Sockets {
		if s.Kind == "unix" {
			continue
		}
		switch {
		case strings.HasSuffix(s.Address, ":10250") && s.Process == "kubelet":
		case strings.HasSuffix(s.Address, ":68") && strings.HasPrefix(s.Kind, "udp"), // the DHCP clients
			strings.HasSuffix(s.Address, ":546") && strings.HasPrefix(s.Kind, "udp"):
		case strings.HasPrefix(s.Address, "127.0.0.1:"), strings.HasPrefix(s.Address, "[::1]:"):
			t.Logf("loopback only: %s %s (%s)", s.Kind, s.Address, s.Process)
		default:
			t.Errorf("%s %s (%s) listens", s.Kind, s.Address, s.Process)
		}
	}
}

func checkSysctls(t *testing.T, n *node) {
	want := map[string]string{
		"net.ipv4.ip_forward":              "1",
		"net.ipv6.conf.all.forwarding":     "1",
		"net.ipv4.ip_local_reserved_ports": "2703,9808-9809,10249-10250,10256,61678-61679",
		"vm.overcommit_memory":             "1",
		"kernel.panic":                     "10",
		"kernel.panic_on_oops":             "1",
		"kernel.dmesg_restrict":            "1",
		"kernel.modprobe":                  "/bin/modprobe",
	}
	names := []string{"show"}
	for name := range want {
		names = append(names, name)
	}
	var f facts
	n.probeJSON(&f, names...)
	if diff := cmp.Diff(want, f.Sysctls); diff != "" {
		t.Errorf("sysctls (-want +got):\n%s", diff)
	}
}

// checkAnonymous demands that the kubelet's port answers only clients of the
// authority.
func checkAnonymous(t *testing.T, n *node) {
	out, err := exec.Command("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://"+n.access.Addr+"/pods").CombinedOutput()
	if got := string(out); err != nil || got != "401" {
		t.Errorf("a client without a certificate got %q (%v), want 401", got, err)
	}
}
