package diskcmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"

	"kios/init/mount"

	"golang.org/x/sys/unix"
)

// From the kernel's include/uapi/linux/ext4.h and fs/xfs/libxfs/xfs_fs.h.
const (
	ext4Resize = 0x40086610 // EXT4_IOC_RESIZE_FS: _IOW('f', 16, __u64)
	xfsGeom    = 0x80705864 // XFS_IOC_FSGEOMETRY_V1: _IOR('X', 100, 112 bytes)
	xfsGrow    = 0x4010586e // XFS_IOC_FSGROWFSDATA: _IOW('X', 110, 16 bytes)
)

type xfsGeometry struct {
	BlockSize  uint32
	_          [6]uint32
	MaxPercent uint32 // of space for inodes
	Blocks     uint64
	_          [18]uint32
}

type xfsGrowth struct {
	Blocks     uint64
	MaxPercent uint32
	_          uint32
}

// blockdev tells a device's size in bytes (--getsize64), or whether it can only be read
// (--getro).
func blockdev(args []string, stdout io.Writer) error {
	options, device, err := splitDevice(args)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(device, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	switch {
	case len(options) == 1 && options[0] == "--getsize64":
		size, err := deviceSize(f)
		if err == nil {
			fmt.Fprintln(stdout, size)
		}
		return err
	case len(options) == 1 && options[0] == "--getro":
		readOnly, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET)
		if err == nil {
			fmt.Fprintln(stdout, readOnly)
		}
		return err
	}
	return errors.New("this blockdev knows --getro and --getsize64")
}

func deviceSize(f *os.File) (bytes uint64, err error) {
	return bytes, ioctl(f, unix.BLKGETSIZE64, unsafe.Pointer(&bytes))
}

// resize2fs grows a mounted ext4 to the size of its device, as the kernel does it.
func resize2fs(args []string, stdout io.Writer) error {
	options, device, err := splitDevice(args)
	if err != nil || len(options) > 0 {
		return errors.Join(err, errors.New("this resize2fs takes a block device and nothing else"))
	}
	dir, _, err := mountOf(func(m mount.Info, number string) bool { return m.Device == number }, device)
	if err != nil {
		return err
	}
	return growTo(device, dir, func(size uint64, f *os.File) error {
		var st unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
			return err
		}
		blocks := size / uint64(st.Bsize)
		fmt.Fprintf(stdout, "%s: %d blocks of %d bytes\n", device, blocks, st.Bsize)
		return ioctl(f, ext4Resize, unsafe.Pointer(&blocks))
	})
}

// xfsGrowfs grows a mounted XFS to the size of its device (-d DIRECTORY).
func xfsGrowfs(args []string, stdout io.Writer) error {
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && args[0] != "-d" {
		return errors.New("this xfs_growfs knows -d DIRECTORY")
	}
	dir, err := filepath.EvalSymlinks(args[len(args)-1])
	if err != nil {
		return err
	}
	dir, device, err := mountOf(func(m mount.Info, _ string) bool { return m.Target == dir && m.Type == "xfs" }, "")
	if err != nil {
		return err
	}
	return growTo(device, dir, func(size uint64, f *os.File) error { return growXFS(size, f, stdout) })
}

func growXFS(size uint64, dir *os.File, stdout io.Writer) error {
	var geometry xfsGeometry
	if err := ioctl(dir, xfsGeom, unsafe.Pointer(&geometry)); err != nil {
		return err
	}
	growth := xfsGrowth{Blocks: size / uint64(geometry.BlockSize), MaxPercent: geometry.MaxPercent}
	fmt.Fprintf(stdout, "%d of %d blocks of %d bytes\n", geometry.Blocks, growth.Blocks, geometry.BlockSize)
	if growth.Blocks <= geometry.Blocks {
		return nil
	}
	return ioctl(dir, xfsGrow, unsafe.Pointer(&growth))
}

// mountOf returns where the first mount that fits is, and its device.
func mountOf(fits func(m mount.Info, number string) bool, device string) (dir, source string, err error) {
	number := ""
	if device != "" {
		rdev, err := deviceNumber(device)
		if err != nil {
			return "", "", err
		}
		number = fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev))
	}
	infos, err := mount.List()
	if err != nil {
		return "", "", err
	}
	for _, m := range infos {
		if fits(m, number) {
			return m.Target, m.Source, nil
		}
	}
	return "", "", errors.New("it is not mounted, and only mounted file systems can be grown here")
}

// growTo calls grow with the size of a device and the open root of its file system.
func growTo(device, dir string, grow func(size uint64, dir *os.File) error) error {
	block, err := os.OpenFile(device, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer block.Close()
	size, err := deviceSize(block)
	if err != nil {
		return fmt.Errorf("read the size of %s: %w", device, err)
	}
	root, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := grow(size, root); err != nil {
		return fmt.Errorf("grow the file system on %s: %w", device, err)
	}
	return nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}
