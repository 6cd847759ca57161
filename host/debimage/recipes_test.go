//go:build image

package debimage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/host/arch"
	"kios/host/debian"
	"kios/host/oci"
	"kios/host/progress"
	"kios/host/qemu"
	"kios/test/lab"
)

// The recipes with the packages themselves, which a build has fetched.
func TestRecipes(t *testing.T) {
	paths, err := filepath.Glob("../../pods/*/image.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("recipes in pods/: %v, %v", paths, err)
	}
	for _, path := range append(paths, "../build/nft.yaml") {
		t.Run(path, func(t *testing.T) {
			text, err := os.ReadFile(path)
			lab.Must(t, err)
			r, err := ParseRecipe(text)
			lab.Must(t, err)
			checkRecipe(t, r)
		})
	}
}

func checkRecipe(t *testing.T, r Recipe) {
	t.Helper()
	a, pinned := lab.Arch(t), readPinned(t)
	trees, versions := unpack(t, a, pinned, r)
	files, err := r.Collect(a, trees)
	lab.Must(t, err)
	if err := r.Check(t.Context(), files, versions, emulatorOf(t, a, pinned)); err != nil {
		t.Error(err)
	}
	if err := oci.Write(filepath.Join(t.TempDir(), "x.tar"), oci.Image{Name: "kios.local/x:1", Architecture: a.Name, Files: files}); err != nil {
		t.Error(err)
	}
	report(t, files)
	for _, p := range r.Packages {
		if !contributes(files, trees[p.Name]) {
			t.Errorf("nothing is taken from the package %s", p.Name)
		}
	}
}

// pinned is what of versions.json the recipes need.
type pinned struct {
	Debian struct {
		Suites   []string
		Packages map[string]string
	}
	Tools map[string]string
}

func readPinned(t *testing.T) (p pinned) {
	t.Helper()
	data, err := os.ReadFile("../../versions.json")
	lab.Must(t, err)
	lab.Must(t, json.Unmarshal(data, &p))
	return p
}

// emulatorOf is the program that runs those of the architecture, "" if they run here.
func emulatorOf(t *testing.T, a arch.Arch, p pinned) string {
	t.Helper()
	if !a.Foreign() {
		return ""
	}
	path, err := qemu.User(t.Context(), progress.New(os.Stderr), a, p.Debian.Suites, p.Tools["qemu-user"])
	lab.Must(t, err)
	return path
}

// unpack unpacks the recipe's packages at the versions of versions.json.
func unpack(t *testing.T, a arch.Arch, p pinned, r Recipe) (trees, versions map[string]string) {
	t.Helper()
	var want []debian.Package
	for _, pkg := range r.Packages {
		want = append(want, debian.Package{Name: pkg.Name, Version: p.Debian.Packages[pkg.Name]})
	}
	debs, err := debian.Fetch(t.Context(), progress.New(os.Stderr), a, p.Debian.Suites, want)
	lab.Must(t, err)
	dir := t.TempDir()
	trees, versions = map[string]string{}, map[string]string{}
	for _, d := range debs {
		trees[d.Name], versions[d.Name] = filepath.Join(dir, d.Name), d.Version
		lab.Must(t, debian.Extract(t.Context(), d, trees[d.Name]))
	}
	return trees, versions
}

func contributes(files []oci.File, tree string) bool {
	for _, f := range files {
		if strings.HasPrefix(f.From, tree+"/") {
			return true
		}
	}
	return false
}

// report logs the sizes of the files, for the book-keeping.
func report(t *testing.T, files []oci.File) {
	t.Helper()
	var b strings.Builder
	total := 0
	for _, f := range files {
		size := len(f.Data)
		if info, err := os.Stat(f.From); err == nil {
			size = int(info.Size())
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		total += size
		fmt.Fprintf(&b, "%9d %v %s\n", size, f.Mode, f.Path)
	}
	t.Logf("%d bytes in %d files:\n%s", total, len(files), b.String())
}
