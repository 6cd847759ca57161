// Package filetree lays out trees of files that become a disk, a root file
// system or a layer of an image: files, links and copies of whole trees, with
// exact modes, whatever the umask.
//
// It makes the parent directories of what it writes, with mode 0755 less the
// umask, and replaces nothing: what is written twice is a mistake of the
// caller's. Owners, times and extended attributes are left out. Files that
// others may read meanwhile are written by package wholefile.
package filetree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Modes decides which mode a copy gets, given that of the original.
type Modes func(fs.FileMode) fs.FileMode

// Keep gives a copy the mode of the original.
func Keep(mode fs.FileMode) fs.FileMode { return mode }

// ReadOnly makes files 0444 and directories 0755, whatever a checkout has.
func ReadOnly(mode fs.FileMode) fs.FileMode {
	if mode.IsDir() {
		return 0o755
	}
	return 0o444
}

// Copy copies the directories, files and symbolic links below src into the
// existing directory dst. Any other kind of file is an error.
func Copy(dst, src string, modes Modes) error {
	var closing []func() error // of directories: last, for one may be read-only
	err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil || rel == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		to, mode := filepath.Join(dst, rel), modes(info.Mode())
		switch d.Type() {
		case fs.ModeDir:
			closing = append(closing, func() error { return os.Chmod(to, mode) })
			return os.Mkdir(to, 0o700)
		case fs.ModeSymlink:
			return copyLink(to, path)
		case 0:
			return CopyFile(to, path, mode)
		}
		return fmt.Errorf("%s is neither a file, a directory nor a symbolic link", rel)
	})
	for _, set := range closing {
		err = errors.Join(err, set())
	}
	return err
}

func copyLink(dst, src string) error {
	target, err := os.Readlink(src)
	if err != nil {
		return err
	}
	return os.Symlink(target, dst)
}

// CopyFile copies the file src to the new file dst. The kernel shares the blocks
// of the two where the file system can.
func CopyFile(dst, src string, mode fs.FileMode) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	return WriteFrom(dst, in, mode)
}

// WriteFile writes data to the new file dst.
func WriteFile(dst string, data []byte, mode fs.FileMode) error {
	return WriteFrom(dst, bytes.NewReader(data), mode)
}

// WriteFrom writes what r has to the new file dst.
func WriteFrom(dst string, r io.Reader, mode fs.FileMode) error {
	if err := makeParents(dst); err != nil {
		return err
	}
	f, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// Mkdir makes the directory dst, or gives the one that is there the mode.
func Mkdir(dst string, mode fs.FileMode) error {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	return os.Chmod(dst, mode)
}

// Symlink makes the new symbolic link dst, which leads to target.
func Symlink(dst, target string) error {
	if err := makeParents(dst); err != nil {
		return err
	}
	return os.Symlink(target, dst)
}

func makeParents(path string) error { return os.MkdirAll(filepath.Dir(path), 0o755) }
