// Package signals keeps PID 1 alive whatever signal it is sent. The kernel panics
// when PID 1 ends, and protects it only from signals that it does not catch. But a Go
// program catches nearly all of them, and ends on most (see os/signal), and any
// process of user 0 may send them, without a capability.
//
// Signals that the kernel itself sends for a fault of PID 1 are left to Go: they
// become a panic, which PID 1 reports.
package signals

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// PowerButton is what the kernel sends to PID 1 when the button is pressed and
// there is no ACPI daemon (drivers/acpi/tiny-power-button.c; 38 is the default
// of CONFIG_ACPI_TINY_POWER_BUTTON_SIGNAL).
const PowerButton = syscall.Signal(38)

// CtrlAltDel is what the kernel sends to PID 1 when these keys are pressed, once it
// has been told not to restart at once; see reboot(2).
const CtrlAltDel = syscall.SIGINT

// stops are the signals that ask for the end of the machine.
var stops = []os.Signal{syscall.SIGTERM, CtrlAltDel, PowerButton}

// last is the highest number of a signal.
const last = 64

// Caught are the channels of a process that no signal ends.
type Caught struct {
	// Stop gets SIGTERM, CtrlAltDel and PowerButton.
	Stop chan os.Signal
	// stray gets the others. It is a channel of its own so that they cannot take
	// the place of those in Stop.
	stray chan os.Signal
}

// Catch makes all signals harmless. It is the first thing that PID 1 does.
func Catch() Caught {
	c := Caught{Stop: make(chan os.Signal, 8), stray: make(chan os.Signal, 8)}
	signal.Notify(c.Stop, stops...)
	signal.Notify(c.stray, strays()...)
	treatQueuedAsSent()
	catchRest()
	return c
}

// strays are the signals that are nobody's.
func strays() []os.Signal {
	var all []os.Signal
	for n := syscall.Signal(1); n <= last; n++ {
		switch n {
		case syscall.SIGTERM, CtrlAltDel, PowerButton:
		case syscall.SIGCHLD: // package reap has it
		case syscall.SIGURG: // Go sends it to itself all the time, and ignores it
		default:
			all = append(all, n)
		}
	}
	return all
}

// quiet is how long nothing is logged after a stray signal: who sends one may send
// thousands.
const quiet = 10 * time.Second

// LogStrays logs the other signals, for ever.
func (c Caught) LogStrays(log func(format string, args ...any)) {
	var logged time.Time
	for sig := range c.stray {
		if logged.IsZero() || time.Since(logged) >= quiet {
			logged = time.Now()
			log("some process sent %s to PID 1: it is ignored, as all are that do not stop the node", Name(sig))
		}
	}
}

// Name returns the name of a signal, such as SIGHUP, or its number.
func Name(sig os.Signal) string {
	n, ok := sig.(syscall.Signal)
	if name := unix.SignalName(n); ok && name != "" {
		return name
	}
	return sig.String()
}
