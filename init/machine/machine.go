// Package machine tells what this machine has, as far as the two stages of PID 1
// decide by it.
package machine

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

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

// Virtual reports whether a hypervisor runs this machine: processors have a flag for it.
// proc is "/proc".
func Virtual(proc string) bool {
	f, err := os.Open(filepath.Join(proc, "cpuinfo"))
	if err != nil {
		return false
	}
	defer f.Close()
	// The first processor is enough: its lines are within one page.
	rows := bufio.NewScanner(io.LimitReader(f, 64<<10))
	for rows.Scan() {
		if key, flags, _ := strings.Cut(rows.Text(), ":"); strings.TrimSpace(key) == "flags" {
			return slices.Contains(strings.Fields(flags), "hypervisor")
		}
	}
	return false
}
