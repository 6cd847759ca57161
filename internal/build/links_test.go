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
	hostOnly := []string{"kios/internal/build", "kios/internal/disk", "kios/internal/qemu", "kios/internal/uki", "kios/internal/kernel", "kios/internal/debimage", "github.com/spf13/cobra"}
	nodeOnly := []string{
		"kios/internal/boot", "kios/internal/bundle", "kios/internal/cgroup", "kios/internal/chrony",
		"kios/internal/coldplug", "kios/internal/datadisk", "kios/internal/dbuswire", "kios/internal/dhcp",
		"kios/internal/dhcp6", "kios/internal/mount", "kios/internal/ndisc", "kios/internal/network",
		"kios/internal/reap", "kios/internal/supervise", "kios/internal/switchroot", "kios/internal/systembus",
		"kios/internal/systemsock",
	}
	for _, c := range []struct {
		pkg    string
		banned []string
	}{
		{"kios/cmd/init", hostOnly},
		{"kios/cmd/system", hostOnly},
		{"kios/cmd/kios", nodeOnly},
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
	for pkg := range deps(t, "kios/cmd/init") {
		if strings.HasPrefix(pkg, "k8s.io/") || strings.HasPrefix(pkg, "google.golang.org/") || strings.HasPrefix(pkg, "github.com/containerd/") {
			t.Errorf("kios/cmd/init links %s", pkg)
		}
	}
}
