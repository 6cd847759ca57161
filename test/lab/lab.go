// Package lab has what tests share: where the checkout and its products are, what
// to do when they are missing, waiting, and a buffer that is safe to read while
// others write. What imports more than Go's own packages and host/arch is in folders
// below: netns, machine and controlplane.
package lab

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/host/arch"
)

// Arch is the architecture whose products are tested: the host's, or the one that
// KIOS_ARCH names.
func Arch(t testing.TB) arch.Arch {
	t.Helper()
	name := os.Getenv("KIOS_ARCH")
	if name == "" {
		return arch.Host()
	}
	a, err := arch.Find(name)
	if err != nil {
		t.Fatalf("KIOS_ARCH: %v", err)
	}
	return a
}

// Only leaves a test out that cannot run where the architecture is another one than the
// host's, and says why.
func Only(t testing.TB, reason string) {
	t.Helper()
	if a := Arch(t); a.Foreign() {
		t.Skipf("not on %s: %s", a.Name, reason)
	}
}

// Root returns the top directory of the checkout that the test runs in.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module kios\n") {
			return dir
		}
	}
	t.Fatal("this directory is in no checkout of kiOS: run the test there")
	return ""
}

// Out returns the path of a product of "make build", such as kios.efi.
func Out(t testing.TB, name string) string {
	t.Helper()
	return OutOf(t, Arch(t), name)
}

// OutOf is Out for a certain architecture.
func OutOf(t testing.TB, a arch.Arch, name string) string {
	t.Helper()
	remedy := "make build"
	if a.Foreign() {
		remedy += " ARCH=" + a.Name
	}
	return product(t, filepath.Join("_out", a.Name, name), remedy)
}

// Kios returns the path of the host command.
func Kios(t testing.TB) string {
	t.Helper()
	return product(t, "_out/kios", "make kios")
}

// ClusterOut returns the path of a product of "make controlplane", such as kubectl,
// for a version of Kubernetes. It is one for this machine.
func ClusterOut(t testing.TB, version, name string) string {
	t.Helper()
	return product(t, filepath.Join("_out", arch.Host().Name, "cluster", version, name), "make controlplane")
}

// Kernel returns the path of the kernel that "make build" made, or of the one that
// KIOS_VM_KERNEL names.
func Kernel(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("KIOS_VM_KERNEL"); path != "" {
		return path
	}
	return Out(t, "vmlinuz")
}

func product(t testing.TB, path, remedy string) string {
	t.Helper()
	full := filepath.Join(Root(t), path)
	if _, err := os.Stat(full); err != nil {
		t.Fatalf("there is no %s: run %q first (%v)", path, remedy, err)
	}
	return full
}

// NeedRoot fails the test unless root runs it.
func NeedRoot(t testing.TB) {
	t.Helper()
	if uid := os.Getuid(); uid != 0 {
		t.Fatalf("user %d runs this test, and it needs root: run it as root", uid)
	}
}

// Long marks a test that "make test-long" runs, and "make test" does not.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: make test-long runs it")
	}
}

// Run runs a program to its end and returns what it printed. The test fails if the
// program does.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Eventually repeats try until it returns nil. The test fails with its last error
// if that takes longer than bound.
func Eventually(t testing.TB, bound time.Duration, what string, try func() error) {
	t.Helper()
	end := time.Now().Add(bound)
	// What is tried may be a program, so not too often.
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s: %v", what, bound, err)
		}
		select {
		case <-time.After(pause):
		case <-t.Context().Done():
			t.Fatalf("%s: %v; before: %v", what, t.Context().Err(), err)
		}
	}
}

// Until waits until want is true.
func Until(t testing.TB, bound time.Duration, what string, want func() bool) {
	t.Helper()
	Eventually(t, bound, what, func() error {
		if !want() {
			return errors.New("it is not so")
		}
		return nil
	})
}

// Must ends the test if what it needs to go on has failed.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// WriteFile writes a file, and its directory if that is not there.
func WriteFile(t testing.TB, path, text string) {
	t.Helper()
	Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	Must(t, os.WriteFile(path, []byte(text), 0o644))
}

// ReadFile returns what is in a file.
func ReadFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Tail returns the last lines of a text.
func Tail(text string, lines int) string {
	all := strings.SplitAfter(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}

// KeptDir returns a directory that stays if the test fails, which then says where
// it is.
func KeptDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kios-"+FileName(t)+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			os.RemoveAll(dir)
			return
		}
		t.Logf("everything is kept in %s", dir)
	})
	return dir
}

// FileName is the test's name as part of that of a file, also in a subtest.
func FileName(t testing.TB) string { return strings.ReplaceAll(t.Name(), "/", "-") }
