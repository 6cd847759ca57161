//go:build guest

package boot

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/init/systembus"
	"kios/init/watchdog"
	"kios/test/lab"
)

// A restart has more time than a hang; a power-off has not.
func TestRestartHasMoreTime(t *testing.T) {
	device, err := watchdog.Open("/dev", "/sys", time.Minute)
	lab.Must(t, err)
	if device == nil {
		t.Skip("this machine has no watchdog: QEMU has one with -device i6300esb")
	}
	defer device.Disarm()
	n, log := node(t)
	n.watchdog.Store(device)
	file := filepath.Join("/sys/class/watchdog", filepath.Base(device.Path), "timeout")
	timeout := func() string { return strings.TrimSpace(lab.ReadFile(t, file)) }
	before := timeout()
	n.letGo(systembus.PowerOff)
	if got := timeout(); got != before {
		t.Errorf("for a power-off the timeout is %s, want %s", got, before)
	}
	n.letGo(systembus.Reboot)
	if got := timeout(); got == before || !strings.Contains(log.String(), "gives the restart") {
		t.Errorf("for a restart the timeout is %s, as before; the log has %q", got, log)
	}
}
