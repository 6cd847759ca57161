package disk

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel's include/uapi/linux/blkpg.h and ext4.h define. BLKPG changes
// what the kernel thinks of one partition, in use or not, and reads no table.
const (
	blkpg          = 0x1269
	blkpgAdd       = 1
	blkpgDelete    = 2
	blkpgResize    = 3
	ext4IocResize  = 0x40086610 // _IOW('f', 16, __u64), all of a file system's blocks
	blkpgNameBytes = 64
)

type blkpgArg struct {
	op, flags, length int32
	_                 int32
	data              unsafe.Pointer
}

type blkpgPartition struct {
	start, length int64 // bytes
	number        int32
	_             [2 * blkpgNameBytes]byte
	_             int32
}

func partitionIoctl(disk *os.File, op int32, p blkpgPartition) error {
	arg := blkpgArg{op: op, length: int32(unsafe.Sizeof(p)), data: unsafe.Pointer(&p)}
	return ioctl(disk, blkpg, unsafe.Pointer(&arg))
}

func addPartition(disk *os.File, number int, start, length int64) error {
	if err := partitionIoctl(disk, blkpgAdd, blkpgPartition{start: start, length: length, number: int32(number)}); err != nil {
		return fmt.Errorf("tell the kernel of partition %d: %w", number, err)
	}
	return nil
}

func deletePartition(disk *os.File, number int) error {
	if err := partitionIoctl(disk, blkpgDelete, blkpgPartition{number: int32(number)}); err != nil {
		return fmt.Errorf("have the kernel forget partition %d: %w", number, err)
	}
	return nil
}

func resizePartition(disk *os.File, number int, start, length int64) error {
	if err := partitionIoctl(disk, blkpgResize, blkpgPartition{start: start, length: length, number: int32(number)}); err != nil {
		return fmt.Errorf("tell the kernel the new size of partition %d: %w", number, err)
	}
	return nil
}

// resizeExt4 grows the mounted file system that dir is on. Needs
// CAP_SYS_RESOURCE.
func resizeExt4(dir string, blocks uint64) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return ioctl(f, ext4IocResize, unsafe.Pointer(&blocks))
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}
