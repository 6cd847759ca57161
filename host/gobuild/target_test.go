package gobuild

import (
	"bytes"
	"debug/elf"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kios/host/arch"
	"kios/host/progress"
	"kios/test/lab"
)

// machines are what ELF files of the architectures say.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

func machineOf(t *testing.T, path string) elf.Machine {
	t.Helper()
	f, err := elf.Open(path)
	lab.Must(t, err)
	defer f.Close()
	return f.Machine
}

// keepGoCache lets a test with a cache of its own take Go's packages from where they are.
func keepGoCache(t *testing.T) {
	t.Helper()
	t.Setenv("GOCACHE", strings.TrimSpace(lab.Run(t, "go", "env", "GOCACHE")))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
}

// One checkout and one cache give a program for each architecture, also when the other one
// is there already.
func TestBuildForEachArchitecture(t *testing.T) {
	keepGoCache(t)
	checkout := t.TempDir()
	lab.WriteFile(t, filepath.Join(checkout, "tiny/go.mod"), "module tiny\n\ngo 1.26.0\n")
	lab.WriteFile(t, filepath.Join(checkout, "tiny/main.go"), "package main\n\nfunc main() {}\n")
	p := Program{Name: "tiny", Dir: "tiny", Package: ".", Module: "tiny"}
	log := progress.New(&bytes.Buffer{})
	made := map[string]bool{}
	for _, a := range slices.Concat(arch.All, arch.All) {
		path, err := Build(t.Context(), log, checkout, Target{Arch: a}, p)
		lab.Must(t, err)
		made[path] = true
		if got, want := machineOf(t, path), machines[a.Name]; got != want {
			t.Errorf("%s for %s is for %s, want %s", path, a.Name, got, want)
		}
	}
	if len(made) != len(arch.All) {
		t.Errorf("there are %d programs for %d architectures", len(made), len(arch.All))
	}
}

func TestBuildOwnForEachArchitecture(t *testing.T) {
	keepGoCache(t)
	root := t.TempDir()
	lab.WriteFile(t, filepath.Join(root, "go.mod"), "module own\n\ngo 1.26.0\n")
	lab.WriteFile(t, filepath.Join(root, "main.go"), "package main\n\nfunc main() {}\n")
	for _, a := range arch.All {
		out := filepath.Join(root, a.Name)
		lab.Must(t, BuildOwn(t.Context(), root, a, ".", out, nil))
		if got, want := machineOf(t, out), machines[a.Name]; got != want {
			t.Errorf("a program for %s is for %s, want %s", a.Name, got, want)
		}
	}
}

// What the caller's environment says of the target does not count.
func TestEnvironIsTheTargets(t *testing.T) {
	t.Setenv("GOARCH", "riscv64")
	t.Setenv("CC", "clang")
	for _, a := range arch.All {
		env := Target{Arch: a}.environ(Program{CGO: true})
		for _, want := range append(slices.Clone(a.Go), "CC="+a.Tool("gcc")) {
			name, _, _ := strings.Cut(want, "=")
			if got := last(env, name); got != want {
				t.Errorf("%s: the environment ends with %s, want %s", a.Name, got, want)
			}
		}
	}
}

// last returns the setting of a variable that counts.
func last(env []string, name string) string {
	for _, e := range slices.Backward(env) {
		if strings.HasPrefix(e, name+"=") {
			return e
		}
	}
	return ""
}
