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
	"context"
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
// existing directory dst. Any other kind of file is an error. It ends with its context.
func Copy(ctx context.Context, dst, src string, modes Modes) error {
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
			return CopyFile(ctx, to, path, mode)
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
// of the two where the file system can. It ends with its context, and leaves what it has
// written.
func CopyFile(ctx context.Context, dst, src string, mode fs.FileMode) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	return write(dst, mode, func(out *os.File) error { return copyChunks(ctx, out, in) })
}

// chunk is how much of a file is copied between two looks at the context, in bytes.
const chunk = 64 << 20

// copyChunks leaves the copying to the kernel, as io.Copy does with files.
func copyChunks(ctx context.Context, out, in *os.File) error {
	for {
		_, err := io.CopyN(out, in, chunk)
		if err == io.EOF {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
}

// WriteFile writes data to the new file dst.
func WriteFile(dst string, data []byte, mode fs.FileMode) error {
	return WriteFrom(dst, bytes.NewReader(data), mode)
}

// WriteFrom writes what r has to the new file dst.
func WriteFrom(dst string, r io.Reader, mode fs.FileMode) error {
	return write(dst, mode, func(out *os.File) error {
		_, err := io.Copy(out, r)
		return err
	})
}

// write makes the new file dst with what fill writes into it.
func write(dst string, mode fs.FileMode, fill func(out *os.File) error) error {
	if err := makeParents(dst); err != nil {
		return err
	}
	f, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Chmod(mode), f.Close())
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
