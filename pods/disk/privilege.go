package disk

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kept are the capabilities that the service uses. Root's own files, which all
// block devices are, need none.
const kept = 1<<unix.CAP_SYS_ADMIN | // BLKPG: tell the kernel of partitions
	1<<unix.CAP_SYS_RESOURCE // grow a mounted ext4

// From the kernel's include/uapi/linux/securebits.h.
const (
	secureNoRoot       = 1 << 0
	secureNoRootLocked = 1 << 1
	capabilityVersion3 = 0x20080522
)

// DropPrivilege gives up, for good, what the privileged container has and the
// service does not use. Programs that it starts are root without any capability:
// they open devices, and that is all. Call it before there is work to do.
func DropPrivilege() error {
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("drop privileges: set no_new_privs: %w", err)
	}
	if err := prctl(unix.PR_SET_SECUREBITS, secureNoRoot|secureNoRootLocked); err != nil {
		return fmt.Errorf("drop privileges: set the secure bits: %w", err)
	}
	if err := dropBounding(); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	if err := dropPermitted(); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	return nil
}

// dropBounding takes all capabilities but the kept ones out of the bounding set:
// no program that is started from now on can get them.
func dropBounding() error {
	for c := uintptr(0); c < 64; c++ {
		if kept&(1<<c) != 0 {
			continue
		}
		err := prctl(unix.PR_CAPBSET_DROP, c)
		if errors.Is(err, unix.EINVAL) {
			break // the kernel knows no more
		}
		if err != nil {
			return fmt.Errorf("capability %d: %w", c, err)
		}
	}
	return nil
}

// dropPermitted takes all capabilities but the kept ones from this process.
func dropPermitted() error {
	header := unix.CapUserHeader{Version: capabilityVersion3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	have := kept & data[0].Permitted
	data = [2]unix.CapUserData{{Effective: have, Permitted: have}}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0)
	if errno != 0 {
		return fmt.Errorf("set the capabilities: %w", errno)
	}
	return nil
}

// prctl is prctl(2) on every thread of this process, as each has privileges of
// its own.
func prctl(option, value uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, option, value, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
