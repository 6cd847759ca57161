package kernel

import (
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"kios/host/arch"
	"kios/host/debian"
	"kios/test/lab"
)

func TestCounter(t *testing.T) {
	c := newCounter("set -e;  echo '  CC      init/main.o';   trap 'rm -f init/main.o'\n" +
		"set -e;  echo '  AS      arch/x86/entry/entry.o';  gcc\n" +
		"set -e;  echo '  CC [M]  fs/nfs/nfs.o';  gcc\n" +
		"set -e;  echo '  AR      built-in.a'; ar\n" +
		"make[1]: *** No rule to make target 'vmlinux.a', needed by 'vmlinux.o'.\n")
	steps := []struct {
		line string
		done int
	}{
		{"  CC      init/main.o", 1},
		{"  CC      init/main.o", 1},                     // again: counts once
		{"  CC      arch/x86/boot/compressed/misc.o", 1}, // not planned
		{"  AR      built-in.a", 1},
		{"init/main.c:1:1: warning: init/main.o", 1},
		{"  CC [M]  fs/nfs/nfs.o", 2},
		{"  AS      arch/x86/entry/entry.o", 3},
	}
	for _, s := range steps {
		if done, total := c.saw(s.line); done != s.done || total != 3 {
			t.Errorf("saw(%q) = %d of %d, want %d of 3", s.line, done, total, s.done)
		}
	}
}

func TestRunMakeToShowsTheEnd(t *testing.T) {
	var lines int
	cmd := exec.Command("sh", "-c", "for i in $(seq 30); do echo line $i; done; echo bad >&2; exit 2")
	err := runMakeTo(cmd, func(string) { lines++ })
	if !errorContains(err, "exit status 2\nline 12\n") || !errorContains(err, "\nline 30\nbad") {
		t.Errorf("runMakeTo() error = %v, want the last 20 lines", err)
	}
	if lines != 31 {
		t.Errorf("runMakeTo() saw %d lines, want 31", lines)
	}
}

func TestMissingError(t *testing.T) {
	if err := missingError(nil); err != nil {
		t.Errorf("missingError(nil) = %v, want nil", err)
	}
	if err := missingError([]string{"flex", "bc", "flex"}); !errorContains(err, "(apt-get install bc flex)") {
		t.Errorf("missingError() = %v, want the command that installs both", err)
	}
}

// Debian's PATH of ordinary users has no sbin, where depmod is.
func TestToolsOfOrdinaryUsers(t *testing.T) {
	t.Setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
	if err := checkTools(arch.Host(), nil); err != nil {
		t.Error(err)
	}
}

// What make gets must not come from the caller, and CROSS_COMPILE not from the environment
// where there is nothing to cross.
func TestMakeIsForTheArchitecture(t *testing.T) {
	for _, a := range arch.All {
		env := (&tree{arch: a}).make(t.Context(), "prepare").Env
		for _, want := range []string{"ARCH=" + a.Kernel.Arch, "CROSS_COMPILE=" + a.CrossCompile()} {
			if !slices.Contains(env, want) {
				t.Errorf("environment of make for %s = %q, want %s in it", a.Name, env, want)
			}
		}
	}
}

// Products must differ between architectures though fragments and source are the same.
func TestKeysOfArchitectures(t *testing.T) {
	src := debian.Deb{Version: "1", Path: filepath.Join(t.TempDir(), "a.deb")}
	lab.WriteFile(t, src.Path, "x")
	products := map[string]string{}
	for _, a := range arch.All {
		if err := checkTools(a, nil); err != nil {
			t.Skip(err)
		}
		key, err := recipe{arch: a, src: src, opts: []option{{"CONFIG_A", "y", "a:1"}}}.key(t.Context())
		lab.Must(t, err)
		if other, ok := products[key.String()]; ok {
			t.Errorf("%s and %s have the same key", a.Name, other)
		}
		products[key.String()] = a.Name
	}
}

func TestToolsOfAForeignArchitecture(t *testing.T) {
	for _, a := range arch.All {
		if !a.Foreign() {
			continue
		}
		t.Setenv("PATH", t.TempDir())
		if err := checkTools(a, nil); !errorContains(err, a.Cross[0]) {
			t.Errorf("checkTools(%s) without a cross compiler = %v, want it to name %s", a.Name, err, a.Cross[0])
		}
	}
}
