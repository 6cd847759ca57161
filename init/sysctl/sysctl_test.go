package sysctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
