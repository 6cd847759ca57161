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
	"strconv"
	"strings"
	"syscall"
)

// Durable writes a file with that mode, whatever the umask, in place of one that
// is there. It returns when the file will outlive a power cut. The directory must
// exist.
func Durable(path string, data []byte, mode fs.FileMode) error {
	return write(path, bytes.NewReader(data), mode, sync, os.Rename)
}

// Volatile is Durable without the promise about a power cut.
func Volatile(path string, data []byte, mode fs.FileMode) error {
	return Copy(path, bytes.NewReader(data), mode)
}

// Copy is Volatile with all that it reads from a source.
func Copy(path string, from io.Reader, mode fs.FileMode) error {
	return write(path, from, mode, nil, os.Rename)
}

// New is Durable for a file that is not there yet. One that is there stays; the
// error is fs.ErrExist then.
func New(path string, data []byte, mode fs.FileMode) error {
	return write(path, bytes.NewReader(data), mode, sync, func(from, to string) error {
		defer os.Remove(from)
		return os.Link(from, to)
	})
}

// Remove removes a file, if it is there. It returns when the file will not be back after a
// power cut.
func Remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDir(filepath.Dir(path), sync)
	}
	return err
}

// write makes the file under a name of its own, and place puts it at path. sync, if
// it is not nil, is called for the file before that, and for the directory after.
func write(path string, from io.Reader, mode fs.FileMode, sync func(*os.File) error, place func(from, to string) error) error {
	prefix := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".kios-")
	sweep(prefix)
	f, err := create(prefix)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// The lock holds until the file has its name: before, others could sweep it.
	defer f.lock.Close()
	// The kernel runs no program that is open for writing, so close it before.
	if err = f.fill(from, mode, sync); err == nil {
		err = place(f.name, path)
	}
	if err != nil {
		os.Remove(f.name)
	} else if sync != nil {
		err = syncDir(filepath.Dir(path), sync)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// temporary is a new file under the other name. Its lock is another descriptor, so
// that it outlives the one for writing.
type temporary struct {
	name     string
	to, lock *os.File
}

// fill writes the file and closes it.
func (f temporary) fill(from io.Reader, mode fs.FileMode, sync func(*os.File) error) error {
	_, err := io.Copy(f.to, from)
	err = errors.Join(err, f.to.Chmod(mode))
	if err == nil && sync != nil {
		err = sync(f.to)
	}
	return errors.Join(err, f.to.Close())
}

func syncDir(path string, sync func(*os.File) error) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return sync(dir)
}

// sync is (*os.File).Sync for files and for directories.
func sync(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) { // a file system without it
		return nil
	}
	return err
}

// suffix is what the other name has behind its prefix, as 8 hexadecimal digits.
const suffix = "%08x"

// create makes and locks a file whose name begins with prefix.
func create(prefix string) (temporary, error) {
	for range 100 {
		name := prefix + fmt.Sprintf(suffix, rand.Uint32())
		to, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return temporary{}, err
		}
		if lock := lockOwn(name); lock != nil {
			return temporary{name, to, lock}, nil
		}
		to.Close()
		os.Remove(name)
	}
	return temporary{}, errors.New("no name for a temporary file is free")
}

// lockOwn locks a new file. It returns nil if another writer was quicker and took it
// for a leftover. File systems without locks are nobody's to sweep.
func lockOwn(name string) *os.File {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	if lock(f) == syscall.EWOULDBLOCK || unlinked(f) {
		f.Close()
		return nil
	}
	return f
}

func unlinked(f *os.File) bool {
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
		if rest, ours := strings.CutPrefix(e.Name(), base); ours && isSuffix(rest) && e.Type().IsRegular() {
			sweepFile(filepath.Join(dir, e.Name()))
		}
	}
}

func isSuffix(text string) bool {
	n, err := strconv.ParseUint(text, 16, 32)
	return err == nil && fmt.Sprintf(suffix, n) == text
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
