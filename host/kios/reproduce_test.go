package main

import (
	"os"
	"path/filepath"
	"testing"

	"kios/host/arch"
	"kios/host/cache"
	"kios/test/lab"
)

// The second build has the links of the first, also those that lead nowhere here.
func TestCopyCheckout(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	lab.Run(t, "git", "-C", root, "init", "--quiet")
	lab.WriteFile(t, filepath.Join(root, "a/file"), "text")
	lab.Must(t, os.Symlink("../run/file", filepath.Join(root, "a/link")))
	lab.Must(t, copyCheckout(t.Context(), root, dir))
	if got := lab.ReadFile(t, filepath.Join(dir, "a/file")); got != "text" {
		t.Errorf("the file is %q", got)
	}
	if target, err := os.Readlink(filepath.Join(dir, "a/link")); target != "../run/file" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
}

// The second build has the packages of the first, of its architecture, and the kernel
// unless that is to be built again.
func TestSecondCache(t *testing.T) {
	for _, tt := range []struct {
		arch        string
		fromScratch bool
		want        []string
		not         []string
	}{
		{"amd64", false, []string{"debs", "apt", "kernel-1"}, []string{"containerd-1", "apt-arm64"}},
		{"arm64", false, []string{"debs", "debs-arm64", "apt-arm64", "kernel-arm64-1"}, []string{"containerd-1", "apt", "kernel-1"}},
		{"amd64", true, []string{"debs", "apt"}, []string{"kernel-1"}},
		{"arm64", true, []string{"debs", "debs-arm64", "apt-arm64"}, []string{"kernel-1", "kernel-arm64-1"}},
	} {
		t.Setenv("XDG_CACHE_HOME", t.TempDir())
		first, err := cache.Dir()
		lab.Must(t, err)
		for _, name := range []string{"debs", "debs-arm64", "apt", "apt-arm64", "kernel-1", "kernel-arm64-1", "containerd-1"} {
			lab.WriteFile(t, filepath.Join(first, name, "file"), name)
		}
		a, err := arch.Find(tt.arch)
		lab.Must(t, err)
		home, err := secondCache(a, tt.fromScratch)
		lab.Must(t, err)
		for _, name := range tt.want {
			if got := lab.ReadFile(t, filepath.Join(home, "kios", name, "file")); got != name {
				t.Errorf("%s, from scratch %v: %s is that of %q", tt.arch, tt.fromScratch, name, got)
			}
		}
		for _, name := range tt.not {
			if !missing(filepath.Join(home, "kios", name)) {
				t.Errorf("%s, from scratch %v: the second build has %s of the first", tt.arch, tt.fromScratch, name)
			}
		}
	}
}
