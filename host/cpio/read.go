package cpio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
)

// Entry is one entry of an archive.
type Entry struct {
	Name         string
	Mode         fs.FileMode
	Size         int64 // bytes of contents
	Offset       int64 // of the contents in the archive
	Stored       int64 // bytes in the archive: header, name, contents and padding
	Target       string
	Major, Minor uint32
}

// List returns the entries of the archives in r: one, or several one after
// the other with zeros between them, as the kernel takes them.
func List(r io.ReaderAt, size int64) ([]Entry, error) {
	var entries []Entry
	for at := int64(0); ; {
		at = skipZeros(r, at, size)
		if at >= size {
			return entries, nil
		}
		e, raw, err := readEntry(r, at, size)
		if err != nil {
			return nil, fmt.Errorf("read cpio archive at byte %d: %w", at, err)
		}
		at += e.Stored
		if e.Name == trailer && raw == 0 {
			continue
		}
		entries = append(entries, e)
	}
}

// skipZeros returns the first place from at on that is not zero, in steps of
// the format's four bytes.
func skipZeros(r io.ReaderAt, at, size int64) int64 {
	buf := make([]byte, 512)
	for at < size {
		n, err := r.ReadAt(buf[:min(512, size-at)], at)
		for i, b := range buf[:n] {
			if b != 0 {
				return at + int64(i)&^3
			}
		}
		at += int64(n)
		if n == 0 || err != nil {
			break
		}
	}
	return at
}

func readEntry(r io.ReaderAt, at, size int64) (e Entry, rawMode uint32, err error) {
	head := make([]byte, fixedSize)
	if err := readAt(r, head, at, size); err != nil {
		return e, 0, err
	}
	field, err := decodeHeader(head)
	if err != nil {
		return e, 0, err
	}
	nameLen := int64(field[11])
	name := make([]byte, nameLen)
	if err := readAt(r, name, at+fixedSize, size); err != nil {
		return e, 0, err
	}
	e = Entry{
		Name:   string(name[:nameLen-1]),
		Mode:   fileMode(field[1]),
		Size:   int64(field[6]),
		Offset: at + align4(fixedSize+nameLen),
		Major:  field[9],
		Minor:  field[10],
	}
	// The last entry of a file need not be padded.
	e.Stored = min(align4(fixedSize+nameLen)+align4(e.Size), size-at)
	if e.Offset+e.Size > size {
		return e, 0, fmt.Errorf("%s: %w", e.Name, errTruncated)
	}
	if e.Mode.Type() == fs.ModeSymlink {
		target := make([]byte, min(e.Size, maxName))
		err = readAt(r, target, e.Offset, size)
		e.Target = string(target)
	}
	return e, field[1], err
}

// decodeHeader returns the thirteen numbers of a header: inode, mode, uid, gid,
// links, mtime, size, two device numbers, two of a device node, the length of
// the name and a checksum.
func decodeHeader(head []byte) (field [13]uint32, err error) {
	if string(head[:6]) != magic {
		return field, errors.New("not in the newc format (is it compressed?)")
	}
	for i := range field {
		v, err := strconv.ParseUint(string(head[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			return field, fmt.Errorf("bad number in the header: %w", err)
		}
		field[i] = uint32(v)
	}
	if n := field[11]; n < 1 || n > maxName {
		return field, fmt.Errorf("a name of %d bytes is not from 1 to %d", n, maxName)
	}
	return field, nil
}

var errTruncated = errors.New("the archive is truncated")

func readAt(r io.ReaderAt, buf []byte, at, size int64) error {
	if at+int64(len(buf)) > size {
		return errTruncated
	}
	if n, err := r.ReadAt(buf, at); n < len(buf) {
		return err
	}
	return nil
}

func align4(n int64) int64 { return (n + 3) &^ 3 }

// fileMode converts the mode of stat(2) to Go's.
func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & typeMask {
	case typeDir:
		mode |= fs.ModeDir
	case typeLink:
		mode |= fs.ModeSymlink
	case typeChar:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case typeBlock:
		mode |= fs.ModeDevice
	case typeFIFO:
		mode |= fs.ModeNamedPipe
	case typeSocket:
		mode |= fs.ModeSocket
	}
	if m&setuid != 0 {
		mode |= fs.ModeSetuid
	}
	if m&setgid != 0 {
		mode |= fs.ModeSetgid
	}
	if m&sticky != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}
