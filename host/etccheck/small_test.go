package etccheck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/host/arch"
	"kios/test/lab"
)

// rootWith is an unpacked root with a /etc of the OS, and a kubelet that says nothing.
func rootWith(t *testing.T, files ...string) *Node {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	n := &Node{dir: t.TempDir(), arch: arch.Host()}
	for _, file := range files {
		lab.WriteFile(t, filepath.Join(n.dir, "etc", file), "")
	}
	lab.Must(t, os.Mkdir(filepath.Join(n.dir, "bin"), 0o755))
	lab.Must(t, os.Symlink("/bin/true", filepath.Join(n.dir, "bin/kubelet")))
	return n
}

func (n *Node) lines(t *testing.T, etc string) string {
	t.Helper()
	lines, err := n.Says(t.Context(), etc, Machine{Memory: 1 << 30})
	lab.Must(t, err)
	return strings.Join(lines, "\n")
}

// What PID 1 will say about the files that it reads itself.
func TestSaysOfSmallFiles(t *testing.T) {
	n := rootWith(t, "kubernetes/manifests/network.yaml", "cni/net.d/README")
	for _, tt := range []struct{ file, text, want string }{
		{"hostname", "my_node\n", `/etc/hostname is not used: "my_node" is no host name: only letters, digits and - are possible between dots, and - neither first nor last`},
		{"hostname", "# none\n", ""},
		{"machine-id", "12\n", "/etc/machine-id is not used: it is not 32 lower-case hexadecimal digits"},
		{"machine-id", "uninitialized\n", ""},
		{"kubernetes/node-labels", "role web\nok: yes\na: b c,\nx: y:z\n", "/etc/kubernetes/node-labels, line 1 is left out: \"role web\" has no colon (lines are KEY: VALUE)\n" +
			"/etc/kubernetes/node-labels, line 4 is left out: \"y:z\" is no value of a label or taint"},
		{"kubernetes/node-labels", "ok: yes\n", ""},
		{"kubernetes/node-ip", "10.0.0\n", `/etc/kubernetes/node-ip is not used: "10.0.0" is no IP address, nor two with a comma`},
		{"kubernetes/node-ip", "10.0.0.1, fd00::1\n", ""},
		{"kubernetes/cloud-provider", "aws\n", `/etc/kubernetes/cloud-provider is not used: "aws" is no cloud provider of the kubelet: write external, or remove the file`},
		{"kubernetes/cloud-provider", "external\n", ""},
		{"kios/exec-paths", "lib\n/opt/kata\n/etc/x\n", "/etc/kios/exec-paths: programs in lib cannot run: give a path that begins with a slash\n" +
			"/etc/kios/exec-paths: programs in /etc/x cannot run: give a directory below /var, but not in its log, meta or run"},
		{"kios/exec-paths", strings.Repeat("/var/lib/x\n", 65), "/etc/kios/exec-paths has more than 64 directories: the others are left out"},
		{"sysctl.d/50-x.conf", "nonsense\nvm.swappiness = 10\nkernel.panic = 0\nvm.nr_hugepages = 1000000\n", "/etc/sysctl.d/50-x.conf: \"nonsense\" is not PARAMETER=VALUE\n" +
			"/etc/sysctl.d/50-x.conf: kernel.panic is not set to \"0\": the kubelet does not start with another value\n" +
			"/etc/sysctl.d/50-x.conf: vm.nr_hugepages is not set to \"1000000\": the node needs the memory: at most 256"},
		{"sysctl.d", "vm.swappiness = 10\n", "/etc/sysctl.d is left out: it is no directory: put files NAME.conf into one"},
		{"kubernetes", "", "/etc/kubernetes is a file, and must be a directory: it is kept as /etc/kubernetes.bad, and the system's own is used: put a directory there, or nothing"},
		{"kubernetes/manifests", "", "/etc/kubernetes/manifests is a file, and must be a directory"},
		{"kubernetes/manifests/network.yaml/x", "", "/etc/kubernetes/manifests/network.yaml is a directory, and must be a file"},
		{"kios", "", "/etc/kios is a file, and must be a directory"},
	} {
		etc := t.TempDir()
		lab.WriteFile(t, filepath.Join(etc, tt.file), tt.text)
		if got := n.lines(t, etc); (got == "") != (tt.want == "") || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s with %.80q: the node will say\n%s\nwant\n%s", tt.file, tt.text, got, tt.want)
		}
	}
}

// What is no file is not opened, and what a link leads to is that of the node.
func TestSaysOfWhatIsNoFile(t *testing.T) {
	n := rootWith(t, "kubernetes/manifests/network.yaml")
	etc := t.TempDir()
	at := func(name string) string { return filepath.Join(etc, name) }
	lab.Must(t, os.MkdirAll(at("kubernetes/net"), 0o755))
	lab.Must(t, os.MkdirAll(at("sysctl.d"), 0o755))
	lab.Must(t, unix.Mkfifo(at("hostname"), 0o600))
	lab.Must(t, os.Mkdir(at("machine-id"), 0o755))
	lab.WriteFile(t, at("kubernetes/net/ip"), "10.0.0\n")
	lab.Must(t, os.Symlink("/etc/kubernetes/net/ip", at("kubernetes/node-ip")))
	labels := filepath.Join(t.TempDir(), "labels")
	lab.WriteFile(t, labels, "of this machine\n")
	lab.Must(t, os.Symlink(labels, at("kubernetes/node-labels")))
	lab.Must(t, os.Symlink(os.DevNull, at("sysctl.d/50-null.conf")))
	lab.Must(t, os.Symlink("../loop.conf", at("loop.conf")))
	got := n.lines(t, etc)
	want := []string{
		"/etc/machine-id is a directory, and must be a file: it is kept as /etc/machine-id.bad",
		"/etc/hostname is not used: open /etc/hostname: it is not a regular file",
		`/etc/kubernetes/node-ip is not used: "10.0.0" is no IP address`,
	}
	if lines := strings.Split(got, "\n"); len(lines) != len(want) {
		t.Errorf("%d lines, want %d", len(lines), len(want))
	}
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("no line has %q:\n%s", w, got)
		}
	}
}

// A link in place of the directory of the system pods hides them, wherever it leads.
func TestSaysOfLinkInPlaceOfManifests(t *testing.T) {
	n := rootWith(t, "kubernetes/manifests/network.yaml")
	etc := t.TempDir()
	lab.Must(t, os.MkdirAll(filepath.Join(etc, "kubernetes/own"), 0o755))
	lab.Must(t, os.Symlink("own", filepath.Join(etc, "kubernetes/manifests")))
	if got, want := n.lines(t, etc), "/etc/kubernetes/manifests is a link, and must be a directory"; !strings.HasPrefix(got, want) {
		t.Errorf("the node will say %q, want %q", got, want)
	}
}

// The programs of a node of another architecture run by what can run them, and without it
// the files are said to be unchecked.
func TestSaysOfAnotherArchitecture(t *testing.T) {
	etc := t.TempDir()
	lab.WriteFile(t, filepath.Join(etc, "kubernetes/config.yaml"), "")
	script := filepath.Join(t.TempDir(), "emulator")
	lab.Must(t, os.WriteFile(script, []byte("#!/bin/sh\necho \"emulated $*\"\n"), 0o755))
	n := rootWith(t, "kubernetes/manifests/network.yaml")
	n.arch = arch.Arch{Name: "riscv64"}
	n.emulator = func(_ context.Context, a arch.Arch) (string, error) {
		if a.Name != "riscv64" {
			return "", fmt.Errorf("asked for %s", a.Name)
		}
		return script, nil
	}
	want := "emulated " + filepath.Join(n.dir, "bin/kubelet") + " kios-check-config " + etc + " --memory 1073741824"
	if got := n.lines(t, etc); got != want {
		t.Errorf("the node will say %q, want %q", got, want)
	}
	n.emulator = func(context.Context, arch.Arch) (string, error) { return "", errors.New("there is none") }
	if says, err := n.Says(t.Context(), etc, Machine{}); err == nil || !strings.Contains(err.Error(), "check the files of kubelet with the node's own program: there is none") {
		t.Errorf("Says without an emulator = %q, %v", says, err)
	}
}
