// Package boottime is the clock of CLOCK_BOOTTIME in clock_gettime(2): it counts
// from the start of the kernel, goes on while the machine is suspended, and is the
// same for each process of the machine, so that an instant can be kept in a file
// that goes with the boot.
package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

// Now returns the time since the machine started.
func Now() time.Duration {
	var ts unix.Timespec
	// It cannot fail: the clock exists since Linux 2.6.39 and ts is ours.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
