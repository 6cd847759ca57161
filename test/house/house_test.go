// Package house tests the plan of the source tree: which room may import which,
// what belongs into the leaves that rooms share, that HACKING.md describes what is
// there, and how long functions are.
package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// pkg is what "go list -json" says of a package.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

const module = "kios"

// root is the top of the source tree, which all tests here run in.
const root = "../.."

// tags are all build constraints of files in the tree, so that none is left out.
const tags = "cluster,conformance,guest,image,root,vm"

// list returns the packages of the rooms.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", tags, "-json=ImportPath,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

// room is the first folder of the path of a package of ours, or "".
func room(path string) string {
	rest, ours := strings.CutPrefix(path, module+"/")
	if !ours {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// mayImport are the rooms that a room's packages may import besides their own.
// What only tests import is held to the same, but for what tests share.
var mayImport = map[string][]string{
	"init":     {"internal"},
	"pods":     {"internal"},
	"host":     {"internal"},
	"internal": {},
	"test":     {"internal", "init", "pods", "host"},
}

// wrongImports returns "importer imports imported" for all that is not allowed.
func wrongImports(packages []pkg) []string {
	var wrong []string
	for _, p := range packages {
		from := room(p.ImportPath)
		check := func(imports []string, more ...string) {
			for _, path := range imports {
				to := room(path)
				if to != "" && to != from && !slices.Contains(mayImport[from], to) && !slices.Contains(more, to) {
					wrong = append(wrong, p.ImportPath+" imports "+path)
				}
			}
		}
		check(p.Imports)
		check(p.TestImports, "test")
		check(p.XTestImports, "test")
	}
	return wrong
}

func TestRoomsKeepApart(t *testing.T) {
	packages := list(t)
	for _, p := range packages {
		if _, known := mayImport[room(p.ImportPath)]; !known {
			t.Errorf("%s is in none of the rooms", p.ImportPath)
		}
	}
	for _, w := range wrongImports(packages) {
		t.Errorf("%s (see The house in HACKING.md)", w)
	}
}

func TestWrongImports(t *testing.T) {
	got := wrongImports([]pkg{
		{ImportPath: "kios/init", Imports: []string{"os", "kios/init/boot", "kios/internal/gpt", "kios/pods/disk"}},
		{ImportPath: "kios/internal/gpt", Imports: []string{"kios/host/oci"}, TestImports: []string{"kios/test/lab"}},
		{ImportPath: "kios/pods/disk", Imports: []string{"kios/test/lab"}, XTestImports: []string{"kios/host/qemu"}},
		{ImportPath: "kios/test/e2e", Imports: []string{"kios/host/qemu", "kios/init/boot"}},
	})
	want := []string{
		"kios/init imports kios/pods/disk",
		"kios/internal/gpt imports kios/host/oci",
		"kios/pods/disk imports kios/test/lab",
		"kios/pods/disk imports kios/host/qemu",
	}
	if !slices.Equal(got, want) {
		t.Errorf("wrongImports = %q, want %q", got, want)
	}
}

// A package that one room has to itself belongs into that room.
func TestLeavesAreShared(t *testing.T) {
	packages := list(t)
	for _, leaf := range packages {
		if room(leaf.ImportPath) != "internal" {
			continue
		}
		var users []string
		for _, p := range packages {
			if r := room(p.ImportPath); slices.Contains([]string{"init", "pods", "host"}, r) && slices.Contains(p.Deps, leaf.ImportPath) && !slices.Contains(users, r) {
				users = append(users, r)
			}
		}
		if len(users) < 2 {
			t.Errorf("%s is used by %q only: move it there", leaf.ImportPath, users)
		}
	}
}
