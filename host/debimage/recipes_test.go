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

	"kios/host/cache"
	"kios/host/debian"
	"kios/host/oci"
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
			trees, versions := unpack(t, r)
			files, err := r.Collect(trees)
			lab.Must(t, err)
			if err := r.Check(t.Context(), files, versions, nil); err != nil {
				t.Error(err)
			}
			if err := oci.Write(filepath.Join(t.TempDir(), "x.tar"), oci.Image{Name: "kios.local/x:1", Architecture: "amd64", Files: files}); err != nil {
				t.Error(err)
			}
			report(t, files)
			for _, p := range r.Packages {
				if !contributes(files, trees[p.Name]) {
					t.Errorf("nothing is taken from the package %s", p.Name)
				}
			}
		})
	}
}

// unpack unpacks what the cache has of the recipe's packages, at the version of
// versions.json if that names one.
func unpack(t *testing.T, r Recipe) (trees, versions map[string]string) {
	t.Helper()
	var pinned struct {
		Debian struct{ Packages map[string]string }
	}
	data, err := os.ReadFile("../../versions.json")
	lab.Must(t, err)
	lab.Must(t, json.Unmarshal(data, &pinned))
	root, err := cache.Dir()
	lab.Must(t, err)
	dir := t.TempDir()
	trees, versions = map[string]string{}, map[string]string{}
	for _, p := range r.Packages {
		version := pinned.Debian.Packages[p.Name]
		if version == "" {
			version = "*"
		}
		found, err := filepath.Glob(filepath.Join(root, "debs", p.Name+"_"+strings.ReplaceAll(version, ":", "%3a")+"_*.deb"))
		lab.Must(t, err)
		if len(found) == 0 {
			t.Fatalf("the package %s is not in the cache: run \"make build\" first", p.Name)
		}
		deb := found[len(found)-1]
		trees[p.Name] = filepath.Join(dir, p.Name)
		versions[p.Name] = strings.ReplaceAll(strings.Split(filepath.Base(deb), "_")[1], "%3a", ":")
		lab.Must(t, debian.Extract(t.Context(), debian.Deb{Name: p.Name, Path: deb}, trees[p.Name]))
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
