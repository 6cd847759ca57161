// Package cache keeps expensive products of a build (the kernel, the upstream
// programs, disk templates) outside the checkout, each in a directory named by
// a hash of all that went into it. A product is either complete or absent:
// it is built in a temporary directory and renamed into place.
//
// Nothing is ever evicted; deleting the whole directory is always safe.
package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/sys/unix"
)

// Dir returns the cache's root: ${XDG_CACHE_HOME:-~/.cache}/kios.
func Dir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w (set HOME or XDG_CACHE_HOME)", err)
	}
	return filepath.Join(base, "kios"), nil
}

// Key is the hash of a product's inputs. The zero value is not ready for use;
// call NewKey.
type Key struct{ h hash.Hash }

// NewKey returns a Key that has taken in the given strings: versions, flags,
// whatever decides the product and is not a file.
func NewKey(parts ...string) *Key {
	k := &Key{h: sha256.New()}
	for _, p := range parts {
		fmt.Fprintf(k.h, "%d:%s\n", len(p), p)
	}
	return k
}

// AddTree takes in the names and contents of the regular files at path: one
// file, or all below a directory.
func (k *Key) AddTree(path string) error {
	files, err := regularFiles(path)
	if err != nil {
		return err
	}
	for _, p := range files {
		rel, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		sum, err := FileSum(p)
		if err != nil {
			return err
		}
		fmt.Fprintf(k.h, "%d:%s %s\n", len(rel), rel, sum)
	}
	return nil
}

// regularFiles lists those at path, sorted.
func regularFiles(path string) (files []string, err error) {
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, p)
		}
		return err
	})
	sort.Strings(files)
	return files, err
}

// FileSum returns the SHA-256 of a file in hexadecimal.
func FileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// String returns the key in hexadecimal, short enough for a file name.
func (k *Key) String() string { return hex.EncodeToString(k.h.Sum(nil)[:12]) }

// Product returns the directory of the product name with the given key, and
// calls build to make it in a fresh directory if it is not there yet. Two
// processes that want the same product build it once: the second waits.
func Product(name string, key *Key, build func(dir string) error) (string, error) {
	root, err := Dir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, name+"-"+key.String())
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	unlock, err := Lock(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	return dir, makeProduct(dir, filepath.Join(root, name+"-tmp-"), build)
}

// makeProduct builds in a directory whose name begins with tmp, and renames that.
func makeProduct(dir, tmp string, build func(dir string) error) error {
	work, err := os.MkdirTemp(filepath.Dir(tmp), filepath.Base(tmp))
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := build(work); err != nil {
		return err
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	return os.Rename(work, dir)
}

// Lock waits for its turn among the processes that lock a file. The kernel takes
// the lock from a process that ends.
func Lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	return func() { f.Close() }, nil
}
