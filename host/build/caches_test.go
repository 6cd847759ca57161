package build

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"kios/host/arch"
	"kios/host/debian"
	"kios/host/progress"
	"kios/test/lab"
)

// builders are those of all architectures for one checkout and one cache.
func builders(t *testing.T) (all []*Builder) {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, a := range arch.All {
		b, err := New(lab.Root(t), a, progress.New(io.Discard))
		lab.Must(t, err)
		all = append(all, b)
	}
	return all
}

// madeDeb is a package with the file /name, which has the package's architecture.
func madeDeb(t *testing.T, name, architecture string) debian.Deb {
	t.Helper()
	tree, dir := t.TempDir(), t.TempDir()
	lab.WriteFile(t, filepath.Join(tree, "DEBIAN/control"),
		"Package: "+name+"\nVersion: 1\nArchitecture: "+architecture+"\nMaintainer: x <x@example.com>\nDescription: x\n")
	lab.WriteFile(t, filepath.Join(tree, name), architecture)
	path := filepath.Join(dir, name+"_1_"+architecture+".deb")
	lab.Run(t, "dpkg-deb", "--build", "--root-owner-group", tree, path)
	return debian.Deb{Name: name, Version: "1", Path: path}
}

// Packages of one name and version are unpacked for each architecture, and what is the
// same for all once.
func TestExtractForEachArchitecture(t *testing.T) {
	all := builders(t)
	common := map[string]bool{}
	for _, b := range all {
		dir, err := b.extract(t.Context(), madeDeb(t, "tool", b.Arch.Name))
		lab.Must(t, err)
		if got := lab.ReadFile(t, filepath.Join(dir, "tool")); got != b.Arch.Name {
			t.Errorf("for %s the package of %s is unpacked", b.Arch.Name, got)
		}
		dir, err = b.extract(t.Context(), madeDeb(t, "source", "all"))
		lab.Must(t, err)
		common[dir] = true
	}
	if len(common) != 1 {
		t.Errorf("a package for all architectures is unpacked in %v, want one place", common)
	}
}

// Images of trees that only look alike are in different places, too.
func TestErofsForEachArchitecture(t *testing.T) {
	tree := t.TempDir()
	lab.WriteFile(t, filepath.Join(tree, "file"), "text")
	made := map[string]bool{}
	for _, b := range builders(t) {
		path, err := b.makeErofs(t.Context(), tree, "layer-x", nil)
		lab.Must(t, err)
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		made[path] = true
	}
	if len(made) != len(arch.All) {
		t.Errorf("the images are %v, want one for each architecture", made)
	}
}

func TestOutForEachArchitecture(t *testing.T) {
	for _, b := range builders(t) {
		if got, want := b.Out("kios.efi"), filepath.Join(b.Root, "_out", b.Arch.Name, "kios.efi"); got != want {
			t.Errorf("Out = %s, want %s", got, want)
		}
	}
}
