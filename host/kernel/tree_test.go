package kernel

import (
	"os/exec"
	"testing"
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
	if err := missingError([]string{"flex", "bc"}); !errorContains(err, "(apt-get install flex bc)") {
		t.Errorf("missingError() = %v, want the command that installs both", err)
	}
}

// Debian's PATH of ordinary users has no sbin, where depmod is.
func TestToolsOfOrdinaryUsers(t *testing.T) {
	t.Setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
	if err := checkTools(nil); err != nil {
		t.Error(err)
	}
}
