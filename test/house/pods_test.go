package house

import (
	"os"
	"path/filepath"
	"slices"
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
