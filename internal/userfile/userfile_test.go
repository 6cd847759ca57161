package userfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	lab.WriteFile(t, path("file"), "12345678")
	lab.WriteFile(t, path("empty"), "")
	for name, target := range map[string]string{"link": "file", "dangling": "gone", "loop": "loop", "device": "/dev/zero", "endless": "fifo", "kmsg": "/proc/kmsg", "sysfs": "/sys/kernel/notes"} {
		lab.Must(t, os.Symlink(target, path(name)))
	}
	lab.Must(t, unix.Mkfifo(path("fifo"), 0o600))
	for _, tt := range []struct {
		name  string
		limit int64
		want  string
		err   error
	}{
		{"file", 8, "12345678", nil},
		{"file", 7, "", ErrTooLarge},
		{"link", 8, "12345678", nil},
		{"empty", 0, "", nil},
		{"missing", 8, "", fs.ErrNotExist},
		{"dangling", 8, "", fs.ErrNotExist},
		{"file/below", 8, "", unix.ENOTDIR},
		{"loop", 8, "", unix.ELOOP},
		{"fifo", 8, "", ErrNoFile}, // with open(2) alone, this would never return
		{"endless", 8, "", ErrNoFile},
		{"device", 8, "", ErrNoFile},
		{".", 8, "", ErrNoFile},
		{"kmsg", 8, "", ErrNoFile}, // says that it is a regular file, and waits for the kernel's next message
		{"sysfs", 8, "", ErrNoFile},
	} {
		got, err := Read(path(tt.name), tt.limit)
		if string(got) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("Read(%s, %d) = %q, %v, want %q, %v", tt.name, tt.limit, got, err, tt.want, tt.err)
		}
	}
}

func TestReadIfThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if text, err := ReadIfThere(path, Max); text != nil || err != nil {
		t.Errorf("without a file: %q, %v", text, err)
	}
	lab.Must(t, os.Symlink("../elsewhere", path))
	if text, err := ReadIfThere(path, Max); text != nil || err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with a link that leads nowhere: %q, %v", text, err)
	}
	lab.Must(t, os.Remove(path))
	lab.WriteFile(t, path, "x")
	if text, err := ReadIfThere(path, Max); string(text) != "x" || err != nil {
		t.Errorf("with a file: %q, %v", text, err)
	}
}
