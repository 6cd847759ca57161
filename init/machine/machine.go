// Package machine tells what this machine has, as far as the two stages of PID 1
// decide by it.
package machine

import "golang.org/x/sys/unix"

// FullMemory is the memory, in bytes, from which on a node runs everything. With
// less it has enough to do with the user's pods: it leaves out the kernel's
// modules and most system pods.
const FullMemory = 320 << 20

// TotalMemory returns the bytes of memory that the kernel manages, or 0 if it does
// not tell.
func TotalMemory() uint64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(info.Unit)
}
