package network

import (
	"io"
	"log"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kios/pods/network/netconf"
	"kios/test/lab"
)

// reader is a service that reads a file in a directory of the test's.
func reader(t *testing.T) *Service {
	dir := t.TempDir()
	s := &Service{File: filepath.Join(dir, "network.yaml"), LastDir: filepath.Join(dir, "last"), Log: log.New(io.Discard, "", 0)}
	s.last = newKeeper(s.Log, s.lastFile(), "")
	return s
}

const fixed = "interfaces: {eth0: {addresses: [10.77.0.40/24]}}\n"

func (s *Service) hasFixed() bool { return s.conf.Interfaces["eth0"] != nil }

// unreadable puts in place of the file what cannot be read.
var unreadable = map[string]func(path string) error{
	"FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) }, // with open(2) alone, this never returns
	"directory": func(path string) error { return os.Mkdir(path, 0o755) },
	"device":    func(path string) error { return os.Symlink("/dev/zero", path) },
	"loop":      func(path string) error { return os.Symlink(path, path) },
	"long file": func(path string) error { return os.WriteFile(path, make([]byte, 2<<20), 0o600) },
}

// A file that cannot be read is a mistake: only one that is not there asks for nothing.
func TestFileThatBecomesUnreadable(t *testing.T) {
	for name, replace := range unreadable {
		t.Run(name, func(t *testing.T) {
			s := reader(t)
			lab.WriteFile(t, s.File, fixed)
			if !s.read(true) || !s.hasFixed() {
				t.Fatal("the file does not count")
			}
			lab.Must(t, os.Remove(s.File))
			lab.Must(t, replace(s.File))
			if s.read(false) || !s.hasFixed() {
				t.Error("what the file said does not stay")
			}
			lab.Must(t, os.Remove(s.File))
			if !s.read(false) || s.hasFixed() {
				t.Error("what the file said stays after it is removed")
			}
		})
	}
}

func TestFileThatIsUnreadableFromTheStart(t *testing.T) {
	for name, replace := range unreadable {
		t.Run(name, func(t *testing.T) {
			s := reader(t)
			lab.Must(t, replace(s.File))
			lab.Must(t, os.Mkdir(s.LastDir, 0o755))
			lab.WriteFile(t, s.lastFile(), fixed)
			if !s.read(true) || !s.hasFixed() || s.blind.Load() {
				t.Error("what the file last said does not count")
			}
			lab.Must(t, os.Remove(s.File))
			if !s.read(false) || s.hasFixed() {
				t.Error("what the file said stays after it is removed")
			}
			lab.Must(t, replace(s.File))
			if s.read(false) || s.hasFixed() || s.conf.Unlisted != netconf.Present {
				t.Error("a file that cannot be read changes something")
			}
		})
	}
}
