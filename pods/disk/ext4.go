package disk

import (
	"io"

	"kios/internal/ext4"
)

// readSuperblock reads one with which can be reckoned.
func readSuperblock(r io.ReaderAt, offset int64) (*ext4.Superblock, error) {
	sb, err := ext4.Read(r, offset)
	if err == nil && (sb.BlockSize == 0 || sb.BlocksPerGroup == 0) {
		return nil, ext4.ErrNone
	}
	return sb, err
}

// fit returns how many blocks the file system can have in so many bytes. A last
// group that has hardly more room than its own tables take is left out, as
// resize2fs(8) does; ext4 would refuse it.
func fit(sb *ext4.Superblock, bytes int64) uint64 {
	blocks := uint64(bytes / sb.BlockSize)
	if rest := blocks % sb.BlocksPerGroup; rest < sb.BlocksPerGroup/8 {
		blocks -= rest
	}
	return blocks
}
