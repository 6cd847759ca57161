package wholefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	gosync "sync"
	"syscall"
	"testing"
)

// ways are all that replace a file.
var ways = map[string]func(string, []byte, fs.FileMode) error{
	"Durable":  Durable,
	"Volatile": Volatile,
	"Copy": func(path string, data []byte, mode fs.FileMode) error {
		return Copy(path, bytes.NewReader(data), mode)
	},
}

func each(t *testing.T, test func(t *testing.T, write func(string, []byte, fs.FileMode) error)) {
	for name, write := range ways {
		t.Run(name, func(t *testing.T) { test(t, write) })
	}
}

// wantOnly fails if a directory has other entries than these.
func wantOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if err != nil || strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("in the directory: %q, %v, want %q", got, err, names)
	}
}

func wantText(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s = %q, %v, want %q", path, got, err, want)
	}
}

func TestWrite(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	each(t, func(t *testing.T, write func(string, []byte, fs.FileMode) error) {
		dir := t.TempDir()
		path := filepath.Join(dir, "a")
		for _, want := range []struct {
			text string
			mode os.FileMode
		}{{"old", 0o666}, {"new", 0o600}, {"", 0o444}, {"last", 0o755}} {
			if err := write(path, []byte(want.text), want.mode); err != nil {
				t.Fatal(err)
			}
			wantText(t, path, want.text)
			if info, err := os.Stat(path); err != nil || info.Mode() != want.mode {
				t.Errorf("mode = %v, %v, want %v", info.Mode(), err, want.mode)
			}
		}
		wantOnly(t, dir, "a")
	})
}

func TestFailureLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, write func(string, []byte, fs.FileMode) error) {
		dir := t.TempDir()
		if err := write(filepath.Join(dir, "missing/a"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("write into a directory that is not there = %v", err)
		}
		if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := write(filepath.Join(dir, "f/a"), nil, 0o600); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("write below a file = %v", err)
		}
		// Over a directory, a rename fails.
		if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := write(filepath.Join(dir, "d"), nil, 0o600); err == nil {
			t.Error("write over a directory succeeds")
		}
		wantOnly(t, dir, "d", "f")
	})
}

// A source that fails in the middle leaves the old content.
func TestCopyOfABrokenSource(t *testing.T) {
	dir := t.TempDir()
	path, broken := filepath.Join(dir, "a"), errors.New("broken")
	if err := Volatile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	go func() { w.Write([]byte("half")); w.CloseWithError(broken) }()
	if err := Copy(path, r, 0o600); !errors.Is(err, broken) {
		t.Errorf("Copy = %v, want %v", err, broken)
	}
	wantText(t, path, "old")
	wantOnly(t, dir, "a")
}

func TestLinkIsReplaced(t *testing.T) {
	each(t, func(t *testing.T, write func(string, []byte, fs.FileMode) error) {
		dir := t.TempDir()
		other, path := filepath.Join(dir, "other"), filepath.Join(dir, "path")
		if err := errors.Join(os.WriteFile(other, []byte("other"), 0o600), os.Symlink(other, path)); err != nil {
			t.Fatal(err)
		}
		if err := write(path, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		wantText(t, other, "other")
		if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
			t.Errorf("path is %v, %v, want a file", info.Mode(), err)
		}
	})
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	if err := New(path, []byte("first"), 0o640); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode = %v, %v", info.Mode(), err)
	}
	if err := New(path, []byte("second"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("New of a file that is there = %v, want %v", err, fs.ErrExist)
	}
	wantText(t, path, "first")
	wantOnly(t, dir, "a")
}

// What a writer left that was killed goes with the next write of the same file.
// What belongs to a writer that lives, to another file or to no writer stays.
func TestLeftoversAreSwept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	leave := func(name string) *os.File {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	leave(".a.kios-00000001").Close()
	leave(".a.kios-00000002").Close()
	leave(".b.kios-00000001").Close()
	leave(".a.swp").Close()
	leave(".a.kios-notes").Close()
	lives := leave(".a.kios-00000003")
	defer lives.Close()
	if err := lock(lives); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", filepath.Join(dir, ".a.kios-00000004")); err != nil {
		t.Fatal(err)
	}
	if err := Volatile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantOnly(t, dir, ".a.kios-00000003", ".a.kios-00000004", ".a.kios-notes", ".a.swp", ".b.kios-00000001", "a")
}

// A new file that another writer has locked or removed is not written.
func TestLockOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first := lockOwn(path)
	if first == nil {
		t.Fatal("lockOwn of a file of one's own = nil")
	}
	if second := lockOwn(path); second != nil {
		t.Error("lockOwn of a file that another has locked is not nil")
	}
	first.Close()
	os.Remove(path)
	if third := lockOwn(path); third != nil {
		t.Error("lockOwn of a file that was removed is not nil")
	}
}

// A program can be run the moment that it has its name: the kernel refuses one that
// is open for writing (ETXTBSY).
func TestProgramCanBeRun(t *testing.T) {
	data, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "true")
	place := func(from, to string) error {
		if err := os.Rename(from, to); err != nil {
			return err
		}
		return exec.Command(to).Run()
	}
	for range 20 {
		if err := write(path, bytes.NewReader(data), 0o755, nil, place); err != nil {
			t.Fatal(err)
		}
	}
}

// Several writers of one file do not disturb each other, though each sweeps.
func TestManyWriters(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	var all gosync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			text := strings.Repeat(fmt.Sprint(i), 1000)
			for range 50 {
				if err := Volatile(path, []byte(text), 0o600); err != nil {
					t.Error(err)
				}
				got, err := os.ReadFile(path)
				if err != nil || len(got) != 1000 || strings.Count(string(got), string(got[:1])) != 1000 {
					t.Errorf("read %d bytes, %v, want the 1000 of one writer", len(got), err)
				}
			}
		})
	}
	all.Wait()
	wantOnly(t, dir, "a")
}

// A durable file is synced before it gets its name, and its directory after.
func TestOrderOfSyncs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	var steps []string
	place := func(from, to string) error {
		steps = append(steps, "rename")
		return os.Rename(from, to)
	}
	note := func(f *os.File) error {
		if f.Name() == dir {
			steps = append(steps, "directory")
		} else {
			steps = append(steps, "file")
		}
		return sync(f)
	}
	if err := write(path, strings.NewReader("x"), 0o600, note, place); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(steps, " "), "file rename directory"; got != want {
		t.Errorf("steps = %q, want %q", got, want)
	}
}
