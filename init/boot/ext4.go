package boot

import (
	"encoding/binary"
	"fmt"
	"os"
)

// demandSound refuses an ext4 file system that says of itself that it has
// errors: they would grow with each write. Everything else about it is for the
// kernel to judge; an unclean one with a journal, as a power cut leaves it, is
// sound once the kernel has replayed that.
func demandSound(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	// See "The Super Block" in Documentation/filesystems/ext4.
	var super [1024]byte
	if _, err := f.ReadAt(super[:], 1024); err != nil {
		return fmt.Errorf("read %s: %w", device, err)
	}
	return soundSuper(device, super[:])
}

func soundSuper(device string, super []byte) error {
	const (
		magic      = 0xef53
		clean      = 1 // EXT4_VALID_FS
		erroneous  = 2 // EXT4_ERROR_FS
		hasJournal = 4 // EXT4_FEATURE_COMPAT_HAS_JOURNAL
	)
	if binary.LittleEndian.Uint16(super[0x38:]) != magic {
		return nil // mounting it will say more
	}
	state := binary.LittleEndian.Uint16(super[0x3a:])
	journal := binary.LittleEndian.Uint32(super[0x5c:])&hasJournal != 0
	if state&erroneous != 0 || state&clean == 0 && !journal {
		return fmt.Errorf("the file system of the data partition %s has errors and was left untouched: the pod disk repairs it if that is safe, and the node moves onto it then", device)
	}
	return nil
}
