package debian

import (
	"os"
	"path/filepath"
	"testing"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/progress"
	"kios/test/lab"
)

// A package of each architecture that was fetched before is unpacked without asking
// anybody, and each gets its own.
func TestUnpackAlone(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	root, err := cache.Dir()
	lab.Must(t, err)
	for _, a := range arch.All {
		tree := t.TempDir()
		lab.WriteFile(t, filepath.Join(tree, "DEBIAN/control"),
			"Package: tool\nVersion: 1:2\nArchitecture: "+a.Name+"\nDepends: nothing-that-is-there\nMaintainer: x <x@example.com>\nDescription: x\n")
		lab.WriteFile(t, filepath.Join(tree, "usr/bin/tool"), a.Name)
		debs := filepath.Join(root, a.Product("debs"))
		lab.Must(t, os.MkdirAll(debs, 0o755))
		lab.Run(t, "dpkg-deb", "--build", "--root-owner-group", tree, filepath.Join(debs, "tool_1%3a2_"+a.Name+".deb"))
	}
	for _, a := range arch.All {
		dir := t.TempDir()
		lab.Must(t, UnpackAlone(t.Context(), progress.New(os.Stderr), a, nil, Package{"tool", "1:2"}, dir))
		if got := lab.ReadFile(t, filepath.Join(dir, "usr/bin/tool")); got != a.Name {
			t.Errorf("the package for %s has the program of %s", a.Name, got)
		}
	}
}
