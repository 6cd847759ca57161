package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

// linked is everything that PID 1 links beside the standard library. A new
// line here is a decision: no Kubernetes, no gRPC, nothing of the host's.
var linked = []string{
	"golang.org/x/sys/unix",
	"kios/init",
	"kios/init/apparmor",
	"kios/init/boot",
	"kios/init/bundle",
	"kios/init/cgroup",
	"kios/init/dbuswire",
	"kios/init/diskcmd",
	"kios/init/ending",
	"kios/init/kmsg",
	"kios/init/machine",
	"kios/init/mount",
	"kios/init/mountcmd",
	"kios/init/nfthint",
	"kios/init/nodecert",
	"kios/init/notify",
	"kios/init/provider",
	"kios/init/pstore",
	"kios/init/reap",
	"kios/init/rlimit",
	"kios/init/signals",
	"kios/init/supervise",
	"kios/init/systembus",
	"kios/init/systemsock",
	"kios/init/threads",
	"kios/init/timeline",
	"kios/init/trial",
	"kios/init/watchdog",
	"kios/internal/boottime",
	"kios/internal/cmdline",
	"kios/internal/consoleline",
	"kios/internal/control",
	"kios/internal/credprovider",
	"kios/internal/daemonenv",
	"kios/internal/datapart",
	"kios/internal/etclayout",
	"kios/internal/ext4",
	"kios/internal/gpt",
	"kios/internal/hostpath",
	"kios/internal/identity",
	"kios/internal/instance",
	"kios/internal/kubeletargs",
	"kios/internal/logfile",
	"kios/internal/modprobe",
	"kios/internal/ptp",
	"kios/internal/ratelimit",
	"kios/internal/rfc1123",
	"kios/internal/smbios",
	"kios/internal/sysctl",
	"kios/internal/uevent",
	"kios/internal/unixsocket",
	"kios/internal/userfile",
	"kios/internal/wholefile",
}

// stage1 is the same of what the initramfs runs, which is small because it lies
// uncompressed in kios.efi.
var stage1 = []string{
	"golang.org/x/sys/unix",
	"kios/init/ending",
	"kios/init/kmsg",
	"kios/init/machine",
	"kios/init/mount",
	"kios/init/rlimit",
	"kios/init/signals",
	"kios/init/stage1",
	"kios/init/switchroot",
	"kios/internal/cmdline",
	"kios/internal/consoleline",
	"kios/internal/gpt",
	"kios/internal/smbios",
}

// heavy are parts of the standard library that would double the size, or add what a few
// lines do as well.
var heavy = []string{"crypto/tls", "net/http", "html/template", "text/template", "os/exec", "regexp"}

func TestLinkedPackages(t *testing.T) {
	for dir, want := range map[string][]string{".": linked, "./stage1": stage1} {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", dir).Output()
		lab.Must(t, err)
		got := strings.Fields(string(out))
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("packages that %s links (-want +got):\n%s", dir, diff)
		}
	}
}

func TestNothingHeavy(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	lab.Must(t, err)
	for _, pkg := range strings.Fields(string(out)) {
		if slices.Contains(heavy, pkg) {
			t.Errorf("init links %s", pkg)
		}
	}
}
