// Package privilege lets a privileged container keep only what it needs. "privileged" is
// the only way for a static pod to open block devices.
package privilege

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From the kernel's include/uapi/linux/securebits.h.
const (
	secureNoRoot       = 1 << 0
	secureNoRootLocked = 1 << 1
)

// Keep gives up, for good, all capabilities of a privileged container but these (of
// capabilities(7), by their numbers). Root's own files, which all block devices are, need
// none. Programs that the process starts are root without any capability: they open
// devices, and that is all. Call it before there is work to do.
func Keep(capabilities ...uint) error {
	var kept uint64
	for _, c := range capabilities {
		kept |= 1 << c
	}
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("drop privileges: set no_new_privs: %w", err)
	}
	if err := prctl(unix.PR_SET_SECUREBITS, secureNoRoot|secureNoRootLocked); err != nil {
		return fmt.Errorf("drop privileges: set the secure bits: %w", err)
	}
	if err := dropBounding(kept); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	if err := dropPermitted(kept); err != nil {
		return fmt.Errorf("drop privileges: %w", err)
	}
	return nil
}

// dropBounding takes all capabilities but the kept ones out of the bounding set:
// no program that is started from now on can get them.
func dropBounding(kept uint64) error {
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
func dropPermitted(kept uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read the capabilities: %w", err)
	}
	for i := range data {
		have := uint32(kept>>(32*i)) & data[i].Permitted
		data[i] = unix.CapUserData{Effective: have, Permitted: have}
	}
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
