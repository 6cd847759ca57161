package regular

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// With open(2) alone, the FIFO and the link to it would never return.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(at("file"), []byte("text"), 0o600), unix.Mkfifo(at("fifo"), 0o600),
		os.Symlink("file", at("link")), os.Symlink("fifo", at("link to a FIFO")), os.Symlink("/dev/null", at("link to a device")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]error{
		"file": nil, "link": nil, "fifo": ErrNoFile, "link to a FIFO": ErrNoFile, "link to a device": ErrNoFile, ".": ErrNoFile, "none": fs.ErrNotExist,
	} {
		f, err := Open(at(name))
		if !errors.Is(err, want) {
			t.Errorf("Open(%s) = %v, want %v", name, err, want)
		}
		if err != nil {
			continue
		}
		if text, err := io.ReadAll(f); err != nil || string(text) != "text" {
			t.Errorf("%s has %q, %v", name, text, err)
		}
		f.Close()
	}
}
