package house

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A pod with a service is a folder with all of it, and a row in pods/system.
func TestPodsAreWhole(t *testing.T) {
	commands, err := filepath.Glob(filepath.Join(root, "pods/*/command.go"))
	if err != nil || len(commands) == 0 {
		t.Fatalf("services below pods/: %v, %v", commands, err)
	}
	packages := list(t)
	system := packages[slices.IndexFunc(packages, func(p pkg) bool { return p.ImportPath == "kios/pods/system" })]
	for _, c := range commands {
		dir := filepath.Dir(c)
		name := filepath.Base(dir)
		for _, file := range []string{name + ".yaml", "README.md"} {
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
				t.Errorf("pods/%s has a service and no %s", name, file)
			}
		}
		if !slices.Contains(system.Imports, "kios/pods/"+name) {
			t.Errorf("pods/system/main.go does not list the service of pods/%s", name)
		}
	}
}

// All system pods are one program, so what a package does when it is loaded costs each of
// them. Regular expressions are the largest part of it.
func TestPodsCompileNothingAtStart(t *testing.T) {
	compiled := regexp.MustCompile(`(?m)^(var\s|\t)\s*(\w+\s*=\s*|\{)regexp\.(Must)?Compile`)
	err := filepath.WalkDir(filepath.Join(root, "pods"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if found := compiled.Find(text); found != nil {
			t.Errorf("%s: %q: take pods/lazyregexp", path, bytes.TrimSpace(found))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
