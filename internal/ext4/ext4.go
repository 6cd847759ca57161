// Package ext4 reads the superblock of an ext4 file system, which lies 1024 bytes
// behind its start ("The Super Block" in the kernel's Documentation/filesystems/ext4).
// It leaves out checksums and all else that is for the kernel to judge.
package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Superblock is what is of interest of one.
type Superblock struct {
	Blocks         uint64
	BlockSize      int64 // bytes; 0 for a size that there is not
	BlocksPerGroup uint64
	UUID           [16]byte
	Label          string
	Used           bool // it has been mounted, or has files
	// Sound is false for a file system that says of itself that it has errors, and
	// for one without a journal that was not unmounted.
	Sound bool
}

// ErrNone says that there is no ext4 file system.
var ErrNone = errors.New("no ext4 file system")

const (
	magic      = 0xef53
	clean      = 1    // EXT4_VALID_FS
	erroneous  = 2    // EXT4_ERROR_FS
	hasJournal = 4    // EXT4_FEATURE_COMPAT_HAS_JOURNAL
	has64bit   = 0x80 // EXT4_FEATURE_INCOMPAT_64BIT
	newInodes  = 11   // of a new file system, with lost+found the last
)

// Read reads the superblock of the file system that begins at offset.
func Read(r io.ReaderAt, offset int64) (*Superblock, error) {
	b := make([]byte, 1024)
	if _, err := r.ReadAt(b, offset+1024); err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint16(b[0x38:]) != magic {
		return nil, ErrNone
	}
	inodes, free := le.Uint32(b[0x0:]), le.Uint32(b[0x10:])
	state, journal := le.Uint16(b[0x3a:]), le.Uint32(b[0x5c:])&hasJournal != 0
	sb := &Superblock{
		Blocks:         uint64(le.Uint32(b[0x4:])),
		BlocksPerGroup: uint64(le.Uint32(b[0x20:])),
		UUID:           [16]byte(b[0x68:]),
		Label:          text(b[0x78:0x88]),
		Used:           le.Uint32(b[0x2c:]) != 0 || le.Uint16(b[0x34:]) != 0 || text(b[0x88:0xc8]) != "" || inodes-free > newInodes,
		Sound:          state&erroneous == 0 && (state&clean != 0 || journal),
	}
	if shift := le.Uint32(b[0x18:]); shift <= 6 {
		sb.BlockSize = 1024 << shift
	}
	if le.Uint32(b[0x60:])&has64bit != 0 {
		sb.Blocks |= uint64(le.Uint32(b[0x150:])) << 32
	}
	return sb, nil
}

// text ends at the first zero byte.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// Size returns how many bytes the file system has.
func (sb *Superblock) Size() int64 { return int64(sb.Blocks) * sb.BlockSize }
