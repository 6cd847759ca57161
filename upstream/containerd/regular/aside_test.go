package regular

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPutAside(t *testing.T) {
	dir := t.TempDir()
	file := func(size int) func(string) error {
		return func(path string) error { return os.WriteFile(path, make([]byte, size), 0o600) }
	}
	fifo := func(path string) error { return unix.Mkfifo(path, 0o600) }
	for _, tt := range []struct {
		name  string
		make  func(string) error
		stays bool
	}{
		{"12-other", fifo, true}, // nobody reads it
		{"10-good.conflist", file(100), true},
		{"11-pipe.conf", fifo, false},
		{"12-pipe.conflist", fifo, false},
		{"13-socket.json", func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) }, false},
		{"14-device.conf", func(path string) error { return os.Symlink("/dev/zero", path) }, false},
		{"15-link.conf", func(path string) error { return os.Symlink("12-other", path) }, false},
		{"16-large.conf", file(1001), false},
		{"17-nowhere.conf", func(path string) error { return os.Symlink("nothing", path) }, true},
		{"18-dir.conf", func(path string) error { return os.Mkdir(path, 0o700) }, true},
	} {
		path := filepath.Join(dir, tt.name)
		if err := tt.make(path); err != nil {
			t.Fatal(err)
		}
		var said []string
		PutAside(dir, []string{".conf", ".conflist", ".json"}, 1000, func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
		_, err := os.Lstat(path)
		if (err == nil) != tt.stays || (len(said) == 0) != tt.stays {
			t.Errorf("%s: %v, said %q", tt.name, err, said)
		}
		if !tt.stays && !strings.HasPrefix(strings.Join(said, " "), path+" is not used, and is kept as "+tt.name+".bad: ") {
			t.Errorf("%s: said %q", tt.name, said)
		}
	}
	PutAside(filepath.Join(dir, "none"), nil, 1, t.Errorf)
}
