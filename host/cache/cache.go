// Package cache keeps expensive products of a build (the kernel, the upstream
// programs, disk templates) outside the checkout, each in a directory named by
// a hash of all that went into it. A product is either complete or absent:
// it is built in a directory of another name, synced, and renamed into place.
//
// What differs between architectures has another name for each: see Arch.Product.
// Nothing is ever evicted; deleting the whole directory is always safe.
package cache

import (
	"context"
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
	"strings"

	"golang.org/x/sys/unix"

	"kios/host/progress"
)

// Dir returns the cache's root, ${XDG_CACHE_HOME:-~/.cache}/kios, and makes it.
func Dir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w (set HOME or XDG_CACHE_HOME)", err)
	}
	dir := filepath.Join(base, "kios")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache directory: %w (set XDG_CACHE_HOME to a directory that you may write to)", err)
	}
	return dir, nil
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
// file, or all below a directory. A link at path itself is followed.
func (k *Key) AddTree(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
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
// processes that want the same product build it once: the second waits, and says so.
func Product(ctx context.Context, log *progress.Log, name string, key *Key, build func(dir string) error) (string, error) {
	root, err := Dir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, name+"-"+key.String())
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	unlock, err := Lock(ctx, log, dir+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	sweep(root)
	return dir, makeProduct(dir, build)
}

// unfinished is the suffix of the directory in which a product is built. Who builds
// there has the product's lock.
const unfinished = ".unfinished"

// makeProduct builds in a directory beside the product's, and renames that. It is on
// the disk by then: a product that is there is taken for whole for ever.
func makeProduct(dir string, build func(dir string) error) error {
	work := dir + unfinished
	if err := errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o755)); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := build(work); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(work, 0o755), syncTree(work)); err != nil {
		return err
	}
	return os.Rename(work, dir)
}

// syncTree writes the file system of a directory to its disk.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// sweep removes what builds have left that were killed: nobody has their locks.
func sweep(root string) {
	left, _ := filepath.Glob(filepath.Join(root, "*"+unfinished))
	for _, dir := range left {
		f, err := tryLock(strings.TrimSuffix(dir, unfinished) + ".lock")
		if err != nil {
			continue
		}
		os.RemoveAll(dir)
		f.Close()
	}
}
