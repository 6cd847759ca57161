// Package boottime is the clock of CLOCK_BOOTTIME in clock_gettime(2): it counts
// from the start of the kernel, goes on while the machine is suspended, and is the
// same for each process of the machine, so that an instant can be kept in a file
// that goes with the boot.
package boottime

import (
	"strings"
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

// Built returns when this kernel was built: no clock is right that says less.
func Built() (time.Time, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return time.Time{}, err
	}
	return builtAt(unix.ByteSliceToString(uts.Version[:]))
}

// builtAt reads the date out of the kernel's version, such as
// "#1 SMP Thu Jan  1 00:00:00 UTC 2026".
func builtAt(version string) (time.Time, error) {
	words := strings.Fields(version)
	date := strings.Join(words[max(0, len(words)-6):], " ")
	return time.Parse("Mon Jan 2 15:04:05 MST 2006", date)
}
