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

// Virtual reports whether a hypervisor runs this machine. proc is "/proc", sys "/sys".
// Some processors have a flag for it. Where they have no flags at all, as those of ARM, it
// is for the firmware to say.
func Virtual(proc, sys string) bool {
	if flags := flags(proc); len(flags) > 0 {
		return slices.Contains(flags, "hypervisor")
	}
	return firmwareOfVM(sys)
}

// flags are those that /proc/cpuinfo has of the first processor.
func flags(proc string) []string {
	f, err := os.Open(filepath.Join(proc, "cpuinfo"))
	if err != nil {
		return nil
	}
	defer f.Close()
	// The lines of one processor are within one page.
	rows := bufio.NewScanner(io.LimitReader(f, 64<<10))
	for rows.Scan() {
		if key, flags, _ := strings.Cut(rows.Text(), ":"); strings.TrimSpace(key) == "flags" {
			return strings.Fields(flags)
		}
	}
	return nil
}
