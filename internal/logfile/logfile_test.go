package logfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kios/test/lab"
)

func TestKeepsAndAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	for i := range 2 {
		f := New(path, 1000, 3)
		go f.Run()
		fmt.Fprintf(f, "boot %d\n", i)
		f.Close()
	}
	if got, want := lab.ReadFile(t, path), "boot 0\nboot 1\n"; got != want {
		t.Errorf("file = %q, want %q", got, want)
	}
}

func TestRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	f := New(path, 10, 3)
	for i := range 5 { // one batch each: Run is not used here
		f.store(fmt.Appendf(nil, "line %d..\n", i), 0)
	}
	f.closeFile()
	for name, want := range map[string]string{path: "line 4..\n", path + ".1": "line 3..\n", path + ".2": "line 2..\n"} {
		if got := lab.ReadFile(t, name); got != want {
			t.Errorf("%s = %q, want %q", filepath.Base(name), got, want)
		}
	}
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("a fourth file is kept")
	}
}

func TestNeverBlocks(t *testing.T) {
	f := New(filepath.Join(t.TempDir(), "a.log"), 1<<30, 1)
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 3000 { // nobody runs Run: this must come to an end all the same
		if n, err := f.Write(line); n != len(line) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	go f.Run()
	f.Close()
	if got := lab.ReadFile(t, f.path); !strings.HasPrefix(got, "(kios: 2023424 bytes of output could not be kept)\n") {
		t.Errorf("file begins with %.60q", got)
	}
}

// TestFullDisk lets writing fail in the way that can be had without root: the
// directory is missing at first.
func TestFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	f := New(filepath.Join(dir, "a.log"), 1000, 2)
	var reports []string
	f.Report = func(format string, args ...any) { reports = append(reports, fmt.Sprintf(format, args...)) }
	f.store([]byte("one\n"), 0)
	f.store([]byte("two\n"), 0)
	if len(reports) != 1 || !strings.Contains(reports[0], "a.log") {
		t.Errorf("reports = %q, want one that names the file", reports)
	}
	lab.Must(t, os.Mkdir(dir, 0o755))
	_, lost, _ := f.take()
	f.store([]byte("three\n"), lost)
	f.closeFile()
	if got, want := lab.ReadFile(t, f.path), "(kios: 8 bytes of output could not be kept)\nthree\n"; got != want {
		t.Errorf("file = %q, want %q", got, want)
	}
}

// TestMarksBoots holds that each boot's output begins with a line of its own,
// whatever was there before.
func TestMarksBoots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	lab.Must(t, os.WriteFile(path, []byte("cut off"), 0o640))
	for i := range 2 {
		f := New(path, 1000, 3)
		f.Boot = fmt.Sprintf("id-%d", i)
		f.store([]byte("one\n"), 0)
		f.store([]byte("two\n"), 0)
		f.closeFile()
	}
	want := "cut off\n(kios: boot id-0)\none\ntwo\n(kios: boot id-1)\none\ntwo\n"
	if got := lab.ReadFile(t, path); got != want {
		t.Errorf("file = %q, want %q", got, want)
	}
}

// TestMarkAfterFailure holds that a boot is marked even if its first lines
// could not be written.
func TestMarkAfterFailure(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	f := New(filepath.Join(dir, "a.log"), 1000, 2)
	f.Boot = "id"
	f.store([]byte("one\n"), 0)
	_, lost, _ := f.take()
	f.store(nil, lost) // fails as well, and forgets nothing
	_, lost, _ = f.take()
	lab.Must(t, os.Mkdir(dir, 0o755))
	f.store([]byte("two\n"), lost)
	f.closeFile()
	if got, want := lab.ReadFile(t, f.path), "(kios: boot id)\n(kios: 4 bytes of output could not be kept)\ntwo\n"; got != want {
		t.Errorf("file = %q, want %q", got, want)
	}
}

// foreign are what somebody may put in the place of a log.
var foreign = map[string]func(path, victim string) error{
	"link":          func(path, victim string) error { return os.Symlink(victim, path) },
	"dangling link": func(path, victim string) error { return os.Symlink(victim+".new", path) },
	"second name":   func(path, victim string) error { return os.Link(victim, path) },
	"FIFO":          func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
	"socket": func(path, _ string) error {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		return errors.Join(err, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Close(fd))
	},
	"directory": func(path, _ string) error { return os.Mkdir(path, 0o755) },
	"full directory": func(path, _ string) error {
		return errors.Join(os.MkdirAll(filepath.Join(path, "x"), 0o755), os.MkdirAll(filepath.Join(path+".aside-1", "x"), 0o755))
	},
	"file of another user": func(path, _ string) error {
		if os.Geteuid() != 0 {
			return nil
		}
		return errors.Join(os.WriteFile(path, []byte("theirs\n"), 0o644), os.Chown(path, 1000, 1000))
	},
}

// What is no log of this program is not written to, and does not keep the log from
// being written.
func TestForeignFiles(t *testing.T) {
	for name, place := range foreign {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "log", "a.log")
			lab.WriteFile(t, victim, "precious\n")
			lab.Must(t, os.Mkdir(filepath.Dir(path), 0o755))
			lab.Must(t, place(path, victim))
			f := New(path, 1000, 3)
			f.Report = func(format string, args ...any) {
				if text := fmt.Sprintf(format, args...); !strings.HasSuffix(text, "; it was put aside") {
					t.Error(text)
				}
			}
			f.store([]byte("line\n"), 0)
			f.closeFile()
			if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || lab.ReadFile(t, path) != "line\n" {
				t.Errorf("the log is %v, %v", info, err)
			}
			if got := lab.ReadFile(t, victim); got != "precious\n" {
				t.Errorf("the victim holds %q", got)
			}
			if _, err := os.Lstat(victim + ".new"); err == nil {
				t.Error("a file was made where a link points to")
			}
		})
	}
}

// A directory in the way of the older logs costs these only.
func TestRotatesIntoADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	lab.Must(t, os.MkdirAll(path+".1/x", 0o755))
	f := New(path, 10, 3)
	f.Report = func(format string, args ...any) { t.Errorf(format, args...) }
	for i := range 3 {
		f.store(fmt.Appendf(nil, "line %d..\n", i), 0)
	}
	f.closeFile()
	if got := lab.ReadFile(t, path); got != "line 2..\n" {
		t.Errorf("file = %q", got)
	}
}

// A batch that is larger than a file makes several, each within the limit.
func TestLargeBatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	f := New(path, 20, 3)
	var batch []byte
	for i := range 9 {
		batch = fmt.Appendf(batch, "line %d\n", i)
	}
	f.store(batch, 0)
	f.store([]byte(strings.Repeat("x", 50)+"\n"), 0)
	f.closeFile()
	for name, want := range map[string]string{path: "xxxxxxxxxx\n", path + ".1": strings.Repeat("x", 20), path + ".2": strings.Repeat("x", 20)} {
		if got := lab.ReadFile(t, name); got != want {
			t.Errorf("%s = %q, want %q", filepath.Base(name), got, want)
		}
	}
}
