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

// controllers are those that disks hang at, and what the node does with a data partition
// there. The kernel command line decides: the machine does not know its boot disk.
var controllers = []struct{ bus, words, want string }{
	{"megasas", "datapart=auto kios.disk=auto", `data partition /dev/sda2$`}, // its driver is a module
	{"megasas", "datapart=auto", `sda2 .*has the type of a data partition and is not used`},
	{"scsi", "datapart=auto kios.disk=auto", `data partition /dev/sda2$`},
	{"nvme", "datapart=auto kios.disk=/dev/nvme0n1", `data partition /dev/nvme0n1p2$`},
	{"usb", "datapart=auto kios.disk=auto", `sda2 .*has the type of a data partition and is not used`},
	{"usb", "", `data partition /dev/sda2$`}, // named by its GUID
}

func TestHardwareControllers(t *testing.T) {
	long(t)
	n := prepare(t, setup{few: true})
	words := n.cfg.Append
	for _, tt := range controllers {
		n.cfg.Disks = []qemu.Disk{{Path: n.disk, Bus: tt.bus, Snapshot: true}}
		n.cfg.Append = words + " " + tt.words
		t.Run(tt.bus+" "+tt.words, func(t *testing.T) {
			one := *n
			one.t, one.cfg.Dir = t, t.TempDir()
			one.start()
			one.expect(tt.want)
			one.expect(`step etc `) // after the search
			if strings.Contains(tt.want, "not used") && one.consoleHas(`kios: data partition`) {
				t.Error("a disk was used that does not count")
			}
			one.Kill()
		})
	}
}

// demandQuiet demands that PID 1 has found nothing to complain about.
func (n *node) demandQuiet() {
	n.t.Helper()
	for _, line := range n.Lines() {
		if strings.Contains(line.Text, "kios: warning: ") || strings.Contains(line.Text, "kios: error: ") {
			n.t.Errorf("the node says %q", line.Text)
		}
	}
}

// Machines with one, and with many processors, and with little memory come up without a
// warning.
func TestHardwareProcessors(t *testing.T) {
	long(t)
	for _, tt := range []struct {
		processors int
		memory     int64
	}{{1, 512}, {8, 1024}} {
		t.Run(fmt.Sprint(tt.processors), func(t *testing.T) {
			n := prepare(t, setup{memory: tt.memory})
			n.cfg.CPUs = tt.processors
			n.start()
			n.running("probe")
			for _, name := range systemPods {
				n.running(name)
			}
			n.demandQuiet()
			n.powerOff()
		})
	}
}
