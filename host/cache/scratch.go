package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Scratch makes a temporary directory that only this user can enter, and returns what
// removes it again. It lies in the cache: /tmp is memory on many hosts, and may forbid
// to execute files.
//
// Directories of processes that were killed are removed by the next one that calls
// Scratch or ScratchIn with the same prefix: this process holds a lock on its own.
func Scratch(prefix string) (dir string, remove func(), err error) {
	root, err := Dir()
	if err != nil {
		return "", nil, err
	}
	parent := filepath.Join(root, "tmp")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", nil, err
	}
	return ScratchIn(parent, prefix)
}

// ScratchIn is Scratch in another directory, for files that are to be renamed to their
// place in it.
func ScratchIn(parent, prefix string) (dir string, remove func(), err error) {
	sweepScratch(parent, prefix)
	if dir, err = os.MkdirTemp(parent, prefix); err != nil {
		return "", nil, fmt.Errorf("make a temporary directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(dir))
	}
	return dir, func() {
		os.RemoveAll(dir)
		lock.Close()
	}, nil
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// justMade is how long a directory may exist before its maker has locked it.
const justMade = time.Minute

func sweepScratch(parent, prefix string) {
	left, _ := filepath.Glob(filepath.Join(parent, prefix+"*"))
	for _, dir := range left {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < justMade || !mine(info) {
			continue
		}
		if lock, err := lockDir(dir); err == nil {
			os.RemoveAll(dir)
			lock.Close()
		}
	}
}

// mine reports whether a file belongs to the user who runs this.
func mine(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Getuid()
}
