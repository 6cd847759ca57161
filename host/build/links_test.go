package build

import (
	"os/exec"
	"strings"
	"testing"
)

// deps returns the packages that a package links.
func deps(t *testing.T, pkg string) map[string]bool {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", pkg).Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pkg, err)
	}
	m := map[string]bool{}
	for _, p := range strings.Fields(string(out)) {
		m[p] = true
	}
	return m
}

// What runs on the node and what runs on the host share leaf packages only:
// neither may bring in what the other is made of.
func TestNodeAndHostKeepApart(t *testing.T) {
	hostOnly := []string{"kios/host/build", "kios/host/diskimage", "kios/host/qemu", "kios/host/uki", "kios/host/kernel", "kios/host/debimage", "github.com/spf13/cobra"}
	nodeOnly := []string{
		"kios/init/boot", "kios/init/bundle", "kios/init/cgroup", "kios/pods/time",
		"kios/pods/modules", "kios/pods/disk", "kios/init/dbuswire", "kios/pods/network/dhcp",
		"kios/pods/network/dhcp6", "kios/init/mount", "kios/pods/network/ndisc", "kios/pods/network",
		"kios/init/reap", "kios/init/supervise", "kios/init/switchroot", "kios/init/systembus",
		"kios/init/systemsock",
	}
	for _, c := range []struct {
		pkg    string
		banned []string
	}{
		{"kios/init", hostOnly},
		{"kios/pods/system", hostOnly},
		{"kios/host/kios", nodeOnly},
	} {
		links := deps(t, c.pkg)
		for _, b := range c.banned {
			if links[b] {
				t.Errorf("%s links %s", c.pkg, b)
			}
		}
	}
}

func TestInitLinksNeitherKubernetesNorGRPC(t *testing.T) {
	for pkg := range deps(t, "kios/init") {
		if strings.HasPrefix(pkg, "k8s.io/") || strings.HasPrefix(pkg, "google.golang.org/") || strings.HasPrefix(pkg, "github.com/containerd/") {
			t.Errorf("kios/init links %s", pkg)
		}
	}
}
