package hosttool

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// nearlyFull is what a file system may still have when a write to it has failed, in bytes.
const nearlyFull = 64 << 10

// FullDisk names the file system of a directory if it is full. Programs that make file
// systems say so in their own words: "failed whilst writing FAT", a damaged image.
func FullDisk(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Bavail*uint64(st.Bsize) >= nearlyFull {
		return nil
	}
	return fmt.Errorf("the file system of %s is full", dir)
}
