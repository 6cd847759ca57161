package gobuild

import (
	"bytes"
	"debug/elf"
	"os/exec"
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

// sysroot is a directory with a C library for an architecture, as Debian's packages of
// libraries have it, with a number in it.
func sysroot(t *testing.T, a arch.Arch, number string) *Sysroot {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "it's here") // as a home directory may be called
	lib := filepath.Join(dir, "usr/lib", a.Triplet)
	lab.WriteFile(t, filepath.Join(dir, "usr/include/number.h"), "int number(void);\n")
	lab.WriteFile(t, filepath.Join(lib, "pkgconfig/number.pc"),
		"Name: number\nDescription: x\nVersion: 1\nLibs: -L/usr/lib/"+a.Triplet+" -lnumber\nCflags: -I/usr/include\n")
	source, object := filepath.Join(t.TempDir(), "number.c"), filepath.Join(t.TempDir(), "number.o")
	lab.WriteFile(t, source, "int number(void) { return "+number+"; }\n")
	lab.Run(t, a.Tool("gcc"), "-c", "-o", object, source)
	lab.Run(t, a.Tool("ar"), "rcsD", filepath.Join(lib, "libnumber.a"), object)
	return &Sysroot{Dir: dir}
}

// writeNumber makes a module whose program prints the number of a C library.
func writeNumber(t *testing.T) (checkout string, p Program) {
	t.Helper()
	checkout = t.TempDir()
	lab.WriteFile(t, filepath.Join(checkout, "c/go.mod"), "module c\n\ngo 1.26.0\n")
	lab.WriteFile(t, filepath.Join(checkout, "c/main.go"), `package main

// #cgo pkg-config: number
// #include <number.h>
import "C"

func main() { print(C.number()) }
`)
	return checkout, Program{Name: "c", Dir: "c", Package: ".", Module: "c", CGO: true}
}

// A program with C is linked with the libraries that are given, for its architecture. The
// binary does not show where they were, and is made anew when they change.
func TestBuildWithLibraries(t *testing.T) {
	for _, a := range arch.All {
		t.Run(a.Name, func(t *testing.T) {
			if _, err := exec.LookPath(a.Tool("gcc")); err != nil {
				t.Skipf("%v: %s", err, install(a))
			}
			keepGoCache(t)
			checkout, p := writeNumber(t)
			build := func(number string) string {
				path, err := Build(t.Context(), progress.New(&bytes.Buffer{}), checkout, Target{a, sysroot(t, a, number)}, p)
				lab.Must(t, err)
				return path
			}
			first, again, other := build("6"), build("6"), build("7")
			if first != again || first == other {
				t.Errorf("with equal libraries it is %s and %s, with another one %s", first, again, other)
			}
			if got, want := machineOf(t, first), machines[a.Name]; got != want {
				t.Errorf("it is for %s, want %s", got, want)
			}
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			if lab.ReadFile(t, build("6")) != lab.ReadFile(t, first) {
				t.Error("it differs when the libraries are in another directory")
			}
			if out, err := exec.Command(other).CombinedOutput(); !a.Foreign() && (err != nil || string(out) != "7") {
				t.Errorf("it prints %q, %v, want 7", out, err)
			}
		})
	}
}

// A program with C does not take this machine's libraries where none are given.
func TestBuildWithoutLibraries(t *testing.T) {
	keepGoCache(t)
	checkout, p := writeNumber(t)
	_, err := Build(t.Context(), progress.New(&bytes.Buffer{}), checkout, host(), p)
	if err == nil || !strings.Contains(err.Error(), "no directory with C libraries") {
		t.Errorf("Build = %v, want an error", err)
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
