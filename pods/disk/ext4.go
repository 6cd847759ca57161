package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// superblock is what is of interest of an ext4's superblock, which lies 1024
// bytes behind its start (the kernel's Documentation/filesystems/ext4/super.rst).
type superblock struct {
	blocks    uint64
	blockSize int64  // bytes
	perGroup  uint64 // blocks
	uuid      [16]byte
	label     string
	used      bool // it has been mounted, or has files
}

var errNoExt4 = errors.New("no ext4 file system")

func readSuperblock(r io.ReaderAt, offset int64) (*superblock, error) {
	b := make([]byte, 1024)
	if _, err := r.ReadAt(b, offset+1024); err != nil {
		return nil, fmt.Errorf("read superblock: %w", err)
	}
	le := binary.LittleEndian
	sb := &superblock{
		blocks:   uint64(le.Uint32(b[0x4:])),
		perGroup: uint64(le.Uint32(b[0x20:])),
		uuid:     [16]byte(b[0x68:]),
		label:    text(b[0x78:0x88]),
		used:     le.Uint32(b[0x2c:]) != 0 || le.Uint16(b[0x34:]) != 0 || text(b[0x88:0xc8]) != "",
	}
	inodes, free := le.Uint32(b[0x0:]), le.Uint32(b[0x10:])
	if newInodes := uint32(11); inodes-free > newInodes { // with lost+found the last
		sb.used = true
	}
	shift := le.Uint32(b[0x18:])
	if le.Uint16(b[0x38:]) != 0xef53 || shift > 6 || sb.perGroup == 0 {
		return nil, errNoExt4
	}
	sb.blockSize = 1024 << shift
	if const64bit := uint32(0x80); le.Uint32(b[0x60:])&const64bit != 0 {
		sb.blocks |= uint64(le.Uint32(b[0x150:])) << 32
	}
	return sb, nil
}

// text ends at the first zero byte.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

func (sb *superblock) size() int64 { return int64(sb.blocks) * sb.blockSize }

// fit returns how many blocks the file system can have in so many bytes. A last
// group that has hardly more room than its own tables take is left out, as
// resize2fs(8) does; ext4 would refuse it.
func (sb *superblock) fit(bytes int64) uint64 {
	blocks := uint64(bytes / sb.blockSize)
	if rest := blocks % sb.perGroup; rest < sb.perGroup/8 {
		blocks -= rest
	}
	return blocks
}
