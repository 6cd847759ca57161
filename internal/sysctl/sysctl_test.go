package sysctl

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kios/test/lab"
)

func TestApply(t *testing.T) {
	root := t.TempDir()
	for _, file := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/eth0/accept_ra", "net/ipv6/conf/lo/accept_ra"} {
		path := filepath.Join(root, file)
		os.MkdirAll(filepath.Dir(path), 0o755)
		lab.WriteFile(t, path, "0\n")
	}
	os.MkdirAll(filepath.Join(root, "vm", "directory"), 0o755)
	missing, errs := Apply(root, []Setting{
		{"net.ipv4.ip_forward", "1", ""},
		{"net.ipv6.conf.*.accept_ra", "2", ""},
		{"kernel.nonsense", "1", ""},
		{"vm.directory", "1", ""},
	})
	if diff := cmp.Diff([]string{"kernel.nonsense"}, missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), `set vm.directory to "1"`) {
		t.Errorf("errors = %v", errs)
	}
	for file, want := range map[string]string{"net/ipv4/ip_forward": "1\n", "net/ipv6/conf/eth0/accept_ra": "2\n", "net/ipv6/conf/lo/accept_ra": "2\n"} {
		if got, _ := os.ReadFile(filepath.Join(root, file)); string(got) != want {
			t.Errorf("%s = %q, want %q", file, got, want)
		}
	}
}

func TestNodeTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Node {
		if s.Why == "" || seen[s.Key] {
			t.Errorf("%s has no reason or comes twice", s.Key)
		}
		seen[s.Key] = true
	}
	if got := len(Without(Node, "kernel.panic")); got != len(Node)-1 {
		t.Errorf("Without(kernel.panic) leaves %d of %d", got, len(Node))
	}
}

// A network plugin loads its BPF programs with CAP_BPF: 2 would harden these, too.
func TestNetworkPluginsKeepTheirBPF(t *testing.T) {
	if got := nodeValue("net.core.bpf_jit_harden"); got != "1" {
		t.Errorf("net.core.bpf_jit_harden = %q, want 1", got)
	}
}

// A virtual machine that stood still does not end with a panic when it goes on.
func TestLockups(t *testing.T) {
	for _, s := range slices.Concat(Node, Lockups(true)) {
		if strings.HasSuffix(s.Key, "lockup_panic") && s.Value != "0" {
			t.Errorf("%s = %s in a virtual machine", s.Key, s.Value)
		}
	}
	if got := len(Lockups(false)); got != 2 {
		t.Errorf("a machine without a hypervisor has %d settings, want 2", got)
	}
}

func TestMinFree(t *testing.T) {
	for _, c := range []struct {
		memory uint64
		want   string
	}{
		{256 << 20, "4096"},
		{1 << 30, "4096"},
		{4 << 30, "8192"},
	} {
		got := MinFree(c.memory)
		if len(got) != 1 || got[0].Value != c.want {
			t.Errorf("MinFree(%d MiB) = %v, want %s", c.memory>>20, got, c.want)
		}
	}
	if got := MinFree(64 << 30); got != nil {
		t.Errorf("MinFree(64 GiB) = %v, want the kernel's own choice", got)
	}
}

// procSys makes parameters, all 0, below a root.
func procSys(t *testing.T, paths ...string) string {
	root := t.TempDir()
	for _, path := range paths {
		file := filepath.Join(root, path)
		lab.Must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		lab.WriteFile(t, file, "0\n")
	}
	return root
}

func TestUserFiles(t *testing.T) {
	root := procSys(t, "vm/swappiness", "net/core/somaxconn", "net/ipv4/conf/eth0.5/rp_filter",
		"net/ipv4/conf/eth0/rp_filter", "net/ipv4/conf/lo/rp_filter", "kernel/panic", "kernel/modprobe", "kernel/shmmax")
	dir := t.TempDir()
	lab.WriteFile(t, filepath.Join(dir, "10-first.conf"), "\ufeff"+`# a comment
; another
vm.swappiness = 10`+"\r"+`
net.core.somaxconn=1024
kernel/shmmax = 5
net.ipv4.conf.*.rp_filter = 2
-net.ipv4.conf.lo.rp_filter
net/ipv4/conf/eth0.5/rp_filter = 1
kernel.panic=0
kernel.modprobe=/tmp/evil
`)
	lab.WriteFile(t, filepath.Join(dir, "20-second.conf"), "net.core.somaxconn=2048\n-no.such=1\nno.such.other=1\nnonsense\n../../x=1\n.=1\n")
	lab.WriteFile(t, filepath.Join(dir, "30-long.conf"), strings.Repeat("#", maxFile+1))
	lab.WriteFile(t, filepath.Join(dir, "40-ignored"), "vm.swappiness=99\n")
	lab.Must(t, unix.Mkfifo(filepath.Join(dir, "50-fifo.conf"), 0o600))
	lab.Must(t, os.Symlink("/dev/null", filepath.Join(dir, "60-null.conf")))
	lab.Must(t, os.Symlink("/proc/kmsg", filepath.Join(dir, "70-kernel.conf"))) // would wait

	lines, errs := Read(dir)
	errs = append(errs, ApplyUser(root, lines, NewRules(1<<30))...)
	for path, want := range map[string]string{
		"vm/swappiness": "10", "net/core/somaxconn": "2048", "kernel/shmmax": "5", "kernel/panic": "0", "kernel/modprobe": "0",
		"net/ipv4/conf/eth0.5/rp_filter": "1", "net/ipv4/conf/eth0/rp_filter": "2", "net/ipv4/conf/lo/rp_filter": "0",
	} {
		if got := strings.TrimSpace(lab.ReadFile(t, filepath.Join(root, path))); got != want {
			t.Errorf("%s = %q, want %q", path, got, want)
		}
	}
	var got []string
	for _, err := range errs {
		got = append(got, strings.ReplaceAll(err.Error(), dir+"/", ""))
	}
	want := []string{
		`20-second.conf: "nonsense" is not PARAMETER=VALUE`,
		`20-second.conf: "../../x=1" names no parameter`,
		`20-second.conf: ".=1" names no parameter`,
		"30-long.conf is left out: it is too large: at most 65536 bytes are read",
		"50-fifo.conf is left out: it is not a regular file",
		"70-kernel.conf is left out: it is not a regular file: it is the kernel's, as those in /proc and /sys",
		`10-first.conf: kernel.panic is not set to "0": the kubelet does not start with another value`,
		`10-first.conf: kernel.modprobe is not set to "/tmp/evil": init loads the kernel's modules`,
		`20-second.conf: no.such.other is not set to "1": there is no such parameter (those of network interfaces and modules that come later cannot be set here)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if _, errs := Read(filepath.Join(dir, "10-first.conf")); len(errs) != 1 || !strings.Contains(errs[0].Error(), "10-first.conf is left out: it is no directory") {
		t.Errorf("of a file in place of the directory: %v", errs)
	}
}

func TestRules(t *testing.T) {
	for _, tt := range []struct{ key, value, refused string }{
		{"vm.overcommit_memory", "1", ""}, // as the node has it
		{"vm.overcommit_memory", "2", "the kubelet"},
		{"vm.max_map_count", "1048576", ""},
		{"vm.max_map_count", "1", "at least 65530"},
		{"user.max_user_namespaces", "0", ""},
		{"user.max_mnt_namespaces", "0", "at least 1024"},
		{"kernel.watchdog_thresh", "5", "at least 10"},
		{"kernel.watchdog_thresh", "0", ""}, // off
		{"kernel.hung_task_timeout_secs", "1", "at least 30"},
		{"kernel.hung_task_timeout_secs", "0", ""}, // off
		{"kernel.threads-max", "0", "at least"},
		{"kernel.threads-max", "-1", "at least"},
		{"kernel.threads-max", "0x10000", ""},
		{"vm.min_free_kbytes", "65536", ""},
		{"vm.min_free_kbytes", "999999999", "at most 131072"},
		{"vm.nr_hugepages", "1", ""},
		{"vm.nr_hugepages", "1000000", "needs the memory"},
		{"kernel.core_pattern", "/var/lib/core.%p", ""},
		{"kernel.core_pattern", "|/bin/sh", "name a file"},
	} {
		err := NewRules(1<<30).check(tt.key, tt.value)
		if (err == nil) != (tt.refused == "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("check(%s, %s) = %v, want %q", tt.key, tt.value, err, tt.refused)
		}
	}
}

// A host that does not know the machine leaves limits of memory to the node.
func TestRefused(t *testing.T) {
	lines, bad := parse("f", "kernel.panic = 0\n-kernel.panic_on_oops = 0\nkernel.pan* = 0\n-vm.panic_on_oom\nvm.nr_hugepages = 1000000\nvm.mmap_min_addr = 99999999\n")
	var got []string
	for _, err := range append(bad, Refused(lines, NewRules(0))...) {
		got = append(got, err.Error())
	}
	want := []string{
		`f: kernel.panic is not set to "0": the kubelet does not start with another value`,
		`f: vm.mmap_min_addr is not set to "99999999": the node needs the memory: at most 1048576`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a.b=c\n#\n-d/e.f=g\n-h\n=\n../x=1\n*=2\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines, _ := parse("f", text)
		for _, l := range lines {
			if !filepath.IsLocal(l.path) || l.Key == "" || len(l.Value) > maxValue {
				t.Errorf("parse(%q) has the line %+v", text, l)
			}
		}
	})
}
