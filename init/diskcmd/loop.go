package diskcmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// losetup attaches a file to a free loop device (-f FILE, with --show to print the
// device), or detaches devices (-d DEVICE...). The kubelet attaches the device of a raw
// block volume, so that nobody takes it away while it is in use.
func losetup(args []string, stdout io.Writer) error {
	show := slices.Contains(args, "--show")
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--show" })
	switch {
	case len(args) == 2 && (args[0] == "-f" || args[0] == "--find"):
		device, err := attach(args[1])
		if err == nil && show {
			fmt.Fprintln(stdout, device)
		}
		return err
	case len(args) >= 2 && (args[0] == "-d" || args[0] == "--detach"):
		return detach(args[1:])
	}
	return errors.New("this losetup knows -f [--show] FILE and -d DEVICE, and devices after that")
}

// attempts bounds how often attach looks for a device that others do not take first.
const attempts = 64

func attach(path string) (device string, err error) {
	file, readOnly, err := openBacking(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	for range attempts {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", fmt.Errorf("find a free loop device: %w", err)
		}
		device = fmt.Sprintf("/dev/loop%d", number)
		err = configure(device, path, file, readOnly)
		if !errors.Is(err, unix.EBUSY) {
			return device, err
		}
	}
	return "", fmt.Errorf("no loop device stayed free in %d attempts", attempts)
}

// openBacking opens what a loop device is to show, for reading only if it cannot be
// written to. A block device is also not written to: the kubelet only holds it, and gives
// its pods the device itself. One that is open for writing cannot be mounted by them, since
// the kernel does not let mounted devices be written to (CONFIG_BLK_DEV_WRITE_MOUNTED).
func openBacking(path string) (file *os.File, readOnly bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, err
	}
	if info.Mode()&os.ModeDevice == 0 {
		file, err = os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
		if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EACCES) {
			return file, false, err
		}
	}
	file, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	return file, true, err
}

func configure(device, path string, file *os.File, readOnly bool) error {
	loop, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer loop.Close()
	config := unix.LoopConfig{Fd: uint32(file.Fd())}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], path)
	if readOnly {
		config.Info.Flags = unix.LO_FLAGS_READ_ONLY
	}
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), &config); err != nil {
		return fmt.Errorf("attach %s to %s: %w", path, device, err)
	}
	return nil
}

func detach(devices []string) error {
	var errs []error
	for _, device := range devices {
		loop, err := os.OpenFile(device, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			err = unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_CLR_FD, 0)
			loop.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("detach %s: %w", device, err))
		}
	}
	return errors.Join(errs...)
}
