package apparmor

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab"

	"golang.org/x/sys/unix"
)

// Each bad file is named with its reason, and the good ones are written all the same.
func TestLoadDir(t *testing.T) {
	dir, kernel := t.TempDir(), filepath.Join(t.TempDir(), "replace")
	lab.WriteFile(t, kernel, "")
	for name, text := range map[string]string{"a-text": "profile a { file, }", "b-good": string(magic) + "rest", "d-empty": ""} {
		lab.WriteFile(t, filepath.Join(dir, name), text)
	}
	lab.Must(t, unix.Mkfifo(filepath.Join(dir, "c-fifo"), 0o600))
	lab.Must(t, os.Mkdir(filepath.Join(dir, "abstractions"), 0o755))
	lab.WriteFile(t, filepath.Join(dir, "e-large"), "")
	lab.Must(t, os.Truncate(filepath.Join(dir, "e-large"), maxSize+1))
	lab.Must(t, os.Symlink("nowhere", filepath.Join(dir, "f-link")))
	lab.Must(t, os.Symlink("/proc/kmsg", filepath.Join(dir, "g-kernel"))) // would wait

	errs := LoadDir(kernel, dir)
	want := []string{"c-fifo is not loaded: it is not a regular file", "e-large is not loaded: it is too large",
		"f-link is not loaded: no such file", "g-kernel is not loaded: it is not a regular file: it is the kernel's", "2 files in " + dir + " are not loaded, such as a-text: it is not compiled"}
	if len(errs) != len(want) {
		t.Errorf("errors: %v, want %d", errs, len(want))
	}
	for i, err := range errs {
		if !strings.Contains(err.Error(), want[min(i, len(want)-1)]) {
			t.Errorf("error %d = %v, want %q", i, err, want[min(i, len(want)-1)])
		}
	}
	if got := lab.ReadFile(t, kernel); got != string(magic)+"rest" {
		t.Errorf("the kernel was given %q", got)
	}
}

func TestLoadDirIsBounded(t *testing.T) {
	dir, kernel := t.TempDir(), filepath.Join(t.TempDir(), "replace")
	lab.WriteFile(t, kernel, "")
	for i := range maxFiles + 1 {
		lab.WriteFile(t, filepath.Join(dir, fmt.Sprintf("%04d", i)), string(magic))
	}
	if errs := LoadDir(kernel, dir); len(errs) != 1 || !strings.Contains(errs[0].Error(), "more than 256 files") {
		t.Errorf("errors: %v, want one about the number of files", errs)
	}
	if errs := LoadDir(kernel, filepath.Join(dir, "none")); len(errs) != 0 {
		t.Errorf("errors of a directory that does not exist: %v", errs)
	}
}

func TestParser(t *testing.T) {
	var stderr bytes.Buffer
	if code := Parser(nil, nil, &stderr); code != 1 || !strings.Contains(stderr.String(), "/etc/apparmor.d") {
		t.Errorf("apparmor_parser = %d, %q", code, stderr.String())
	}
}
