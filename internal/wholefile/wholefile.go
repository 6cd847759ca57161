// Package wholefile writes files of which a reader sees the old content or the
// new one, never a part. Durable files are like that after a power cut, too, and
// stay once they are written; files that go with the boot do not need the syncs
// for this and are Volatile.
//
// A file is written under another name in its directory and renamed (rename(2)).
// A symbolic link at the path is replaced, not followed. The other name is new,
// and a lock (flock(2)) says that its writer lives: what a writer left that was
// killed is removed by the next one that writes the same file.
package wholefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Durable writes a file with that mode, whatever the umask, in place of one that
// is there. It returns when the file will outlive a power cut. The directory must
// exist.
func Durable(path string, data []byte, mode fs.FileMode) error {
	return write(path, bytes.NewReader(data), mode, durably(os.Rename, sync))
}

// Volatile is Durable without the promise about a power cut.
func Volatile(path string, data []byte, mode fs.FileMode) error {
	return Copy(path, bytes.NewReader(data), mode)
}

// Copy is Volatile with all that it reads from a source.
func Copy(path string, from io.Reader, mode fs.FileMode) error {
	return write(path, from, mode, func(f *os.File, path string) error { return os.Rename(f.Name(), path) })
}

// New is Durable for a file that is not there yet. One that is there stays; the
// error is fs.ErrExist then.
func New(path string, data []byte, mode fs.FileMode) error {
	place := func(from, to string) error {
		defer os.Remove(from)
		return os.Link(from, to)
	}
	return write(path, bytes.NewReader(data), mode, durably(place, sync))
}

// write makes the file under a name of its own, and place puts it at path.
func write(path string, from io.Reader, mode fs.FileMode, place func(f *os.File, path string) error) error {
	prefix := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".kios-")
	sweep(prefix)
	f, err := create(prefix)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = io.Copy(f, from)
	err = errors.Join(err, f.Chmod(mode))
	if err == nil {
		err = place(f, path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	// Not closed before: with the lock gone, the file could be swept.
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// durably syncs the file before it gets its name, and the name after.
func durably(place func(from, to string) error, sync func(*os.File) error) func(*os.File, string) error {
	return func(f *os.File, path string) error {
		if err := sync(f); err != nil {
			return err
		}
		if err := place(f.Name(), path); err != nil {
			return err
		}
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return err
		}
		defer dir.Close()
		return sync(dir)
	}
}

// sync is (*os.File).Sync for files and for directories.
func sync(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) { // a file system without it
		return nil
	}
	return err
}

// create makes and locks a file whose name begins with prefix.
func create(prefix string) (*os.File, error) {
	var err error
	for range 100 {
		name := fmt.Sprintf("%s%08x", prefix, rand.Uint32())
		var f *os.File
		f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
		if err == nil && !swept(f) {
			return f, nil
		}
		if err == nil {
			f.Close()
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, errors.Join(err, errors.New("no name is free"))
}

// swept locks a new file, and tells whether another writer was quicker and took
// it for a leftover. File systems without locks are nobody's to sweep.
func swept(f *os.File) bool {
	if lock(f) == syscall.EWOULDBLOCK {
		return true
	}
	info, err := f.Stat()
	return err == nil && info.Sys().(*syscall.Stat_t).Nlink == 0
}

func lock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// sweep removes what writers left that did not end: files that nobody has locked.
// If that fails, the next write tries again.
func sweep(prefix string) {
	dir, base := filepath.Split(prefix)
	entries, _ := os.ReadDir(filepath.Clean(dir))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), base) && e.Type().IsRegular() {
			sweepFile(filepath.Join(dir, e.Name()))
		}
	}
}

func sweepFile(path string) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if lock(f) == nil {
		os.Remove(path)
	}
}
