// Package cpio writes and lists archives in the "newc" format that the kernel
// unpacks as an initramfs
// (https://docs.kernel.org/driver-api/early-userspace/buffer-format.html).
//
// What it writes depends on names, modes and contents only: everything belongs
// to root, times are zero and inode numbers are counted. Hard links,
// compression and checksums ("070702") are left out.
package cpio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

const (
	magic     = "070701"
	trailer   = "TRAILER!!!"
	fixedSize = 110 // bytes of a header before the name
	maxName   = 4096
	maxFile   = 1<<32 - 1
)

// File types in the mode, as stat(2) has them.
const (
	typeMask    = 0o170000
	typeFIFO    = 0o010000
	typeChar    = 0o020000
	typeDir     = 0o040000
	typeBlock   = 0o060000
	typeRegular = 0o100000
	typeLink    = 0o120000
	typeSocket  = 0o140000
	setuid      = 0o4000
	setgid      = 0o2000
	sticky      = 0o1000
)

// Writer writes an archive. A directory must be written before what it holds:
// the kernel does not make missing ones.
type Writer struct {
	w     io.Writer
	inode uint32
	at    int64
}

// NewWriter returns a Writer; call Close when all entries are written.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Dir writes a directory with the permissions of mode.
func (w *Writer) Dir(name string, mode fs.FileMode) error {
	return w.entry(name, typeDir|perm(mode), 2, 0, 0, 0, strings.NewReader(""))
}

// File writes a regular file with size bytes from r.
func (w *Writer) File(name string, mode fs.FileMode, size int64, r io.Reader) error {
	return w.entry(name, typeRegular|perm(mode), 1, size, 0, 0, r)
}

// Symlink writes a symbolic link.
func (w *Writer) Symlink(name, target string) error {
	return w.entry(name, typeLink|0o777, 1, int64(len(target)), 0, 0, strings.NewReader(target))
}

// CharDevice writes a character device node.
func (w *Writer) CharDevice(name string, mode fs.FileMode, major, minor uint32) error {
	return w.entry(name, typeChar|perm(mode), 1, 0, major, minor, strings.NewReader(""))
}

// FileFrom writes a regular file with the contents of the file at path.
func (w *Writer) FileFrom(name string, mode fs.FileMode, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("add %s to cpio archive: %w", name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("add %s to cpio archive: %w", name, err)
	}
	return w.File(name, mode, info.Size(), f)
}

// Tree writes the directory dir as name, with all directories, files and
// symbolic links below it in lexical order. Anything else is an error.
func (w *Writer) Tree(name, dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("add %s to cpio archive: %w", name, err)
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return fmt.Errorf("add %s to cpio archive: %w", name, err)
		}
		return w.fromDisk(path.Join(name, filepath.ToSlash(rel)), p, info.Mode())
	})
}

func (w *Writer) fromDisk(name, path string, mode fs.FileMode) error {
	switch mode.Type() {
	case fs.ModeDir:
		return w.Dir(name, mode)
	case 0:
		return w.FileFrom(name, mode, path)
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		return w.Symlink(name, target)
	}
	return fmt.Errorf("add %s to cpio archive: neither a file, a directory nor a symbolic link", path)
}

// Close ends the archive. It does not close the underlying writer.
func (w *Writer) Close() error {
	w.inode = 0
	return w.write(trailer, 0, 1, 0, 0, 0, strings.NewReader(""))
}

func (w *Writer) entry(name string, mode uint32, links int, size int64, major, minor uint32, r io.Reader) error {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" || len(name) >= maxName || name == trailer || strings.ContainsRune(name, 0) {
		return fmt.Errorf("write cpio archive: %q cannot be an entry's name", name)
	}
	if size < 0 || size > maxFile {
		return fmt.Errorf("write cpio archive: %s: %d bytes are more than the format's 4 GiB", name, size)
	}
	w.inode++
	return w.write(name, mode, links, size, major, minor, r)
}

func (w *Writer) write(name string, mode uint32, links int, size int64, major, minor uint32, r io.Reader) error {
	inode := w.inode
	head := fmt.Sprintf("%s%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		magic, inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, len(name)+1, 0, name)
	if err := w.copy(name, strings.NewReader(head), int64(len(head))); err != nil {
		return err
	}
	return w.copy(name, r, size)
}

// copy writes size bytes of r, and zeros up to the next multiple of four.
func (w *Writer) copy(name string, r io.Reader, size int64) error {
	n, err := io.CopyN(w.w, r, size)
	w.at += n
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("it has %d bytes, not %d: did it shrink?", n, size)
	}
	if err != nil {
		return fmt.Errorf("write cpio archive: %s: %w", name, err)
	}
	pad := -w.at & 3
	w.at += pad
	if _, err := w.w.Write(make([]byte, pad)); err != nil {
		return fmt.Errorf("write cpio archive: %s: %w", name, err)
	}
	return nil
}

// perm converts Go's permission bits to those of stat(2).
func perm(mode fs.FileMode) uint32 {
	p := uint32(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		p |= setuid
	}
	if mode&fs.ModeSetgid != 0 {
		p |= setgid
	}
	if mode&fs.ModeSticky != 0 {
		p |= sticky
	}
	return p
}
