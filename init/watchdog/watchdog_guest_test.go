//go:build guest

package watchdog

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// TestDevice uses the watchdog of the machine.
func TestDevice(t *testing.T) {
	d, err := Open("/dev", "/sys", time.Minute)
	lab.Must(t, err)
	if d == nil {
		t.Skip("this machine has no watchdog: QEMU has one with -device i6300esb")
	}
	t.Logf("%s, %v", d.Path, d.Timeout)
	if d.Timeout < 10*time.Second || d.Timeout > 10*time.Minute {
		t.Errorf("its timeout is %v, want about a minute", d.Timeout)
	}
	if _, err := open(d.Path, d.sys, time.Minute); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a second open: %v, want %v", err, unix.EBUSY)
	}
	lab.Must(t, d.Feed())
	if got, err := d.Prolong(10 * time.Minute); err != nil || got <= d.Timeout {
		t.Errorf("Prolong = %v, %v, want more than %v", got, err, d.Timeout)
	}
	if got, err := d.set(1000 * time.Hour); err != nil || got < d.Timeout {
		t.Errorf("the longest timeout is %v, %v", got, err)
	}
	lab.Must(t, d.Disarm())
	again, err := open(d.Path, d.sys, time.Minute)
	lab.Must(t, err)
	lab.Must(t, again.Disarm())
}
