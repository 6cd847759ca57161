//go:build image

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kios/host/qemu"
)

// long marks a test of hardware that "make test-long" runs, and "make test" does not. Its
// name begins with TestHardware.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: make test-long runs it")
	}
}

// watchdogTimeout is more than an emulated machine stands still because its host is busy.
const watchdogTimeout = time.Minute

// watched boots a machine with a watchdog, and whose watchdog it is.
func watched(t *testing.T, identity string, s setup, args ...string) *node {
	t.Helper()
	s.few = true
	s.append += fmt.Sprintf(" kios.watchdog=%d", int(watchdogTimeout.Seconds()))
	n := prepare(t, s)
	n.cfg.NoReboot = true
	n.cfg.Args = append([]string{"-action", "watchdog=reset"}, args...)
	n.start()
	n.expect(`kubelet ready`)
	n.running("probe")
	if got := strings.TrimSpace(n.probe("cat", "/sys/class/watchdog/watchdog0/identity")); got != identity {
		t.Errorf("the watchdog is %q, want %q", got, identity)
	}
	want := fmt.Sprintf("kios: /dev/watchdog0 resets the machine if it hangs for %v", watchdogTimeout)
	if got := n.probe("cat", "/var/log/kernel.log"); !strings.Contains(got, want) {
		t.Errorf("kernel.log does not have %q:\n%s", want, got)
	}
	n.Mark()
	return n
}

// A PID 1 that stands still is reset by the chipset's watchdog.
func TestHardwareWatchdogOfInit(t *testing.T) {
	long(t)
	n := watched(t, "iTCO_wdt", setup{})
	n.probe("set", "/sys/fs/cgroup/init/cgroup.freeze", "1")
	n.ends(qemu.Rebooted)
	if n.consoleHas(`Kernel panic|stopping, as|cannot go on`) {
		t.Error("the machine was not reset by its watchdog")
	}
}
