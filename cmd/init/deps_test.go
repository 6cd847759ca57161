package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// linked is everything that PID 1 links beside the standard library. A new
// line here is a decision: no Kubernetes, no gRPC, nothing of the host's.
var linked = []string{
	"golang.org/x/sys/unix",
	"kios/cmd/init",
	"kios/internal/boot",
	"kios/internal/bundle",
	"kios/internal/cgroup",
	"kios/internal/cmdline",
	"kios/internal/control",
	"kios/internal/datapart",
	"kios/internal/dbuswire",
	"kios/internal/gpt",
	"kios/internal/identity",
	"kios/internal/kmsg",
	"kios/internal/kubeletargs",
	"kios/internal/logfile",
	"kios/internal/modprobe",
	"kios/internal/mount",
	"kios/internal/nodecert",
	"kios/internal/notify",
	"kios/internal/ptp",
	"kios/internal/reap",
	"kios/internal/supervise",
	"kios/internal/switchroot",
	"kios/internal/sysctl",
	"kios/internal/systembus",
	"kios/internal/systemsock",
	"kios/internal/timeline",
	"kios/internal/unixsocket",
	"kios/internal/wholefile",
}

// heavy are parts of the standard library that would double the size.
var heavy = []string{"crypto/tls", "net/http", "html/template", "text/template", "os/exec"}

func TestLinkedPackages(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	if diff := cmp.Diff(linked, got); diff != "" {
		t.Errorf("packages that cmd/init links (-want +got):\n%s", diff)
	}
}

func TestNothingHeavy(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range strings.Fields(string(out)) {
		if slices.Contains(heavy, pkg) {
			t.Errorf("cmd/init links %s", pkg)
		}
	}
}
