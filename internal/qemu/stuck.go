package qemu

import (
	"cmp"
	"context"
	"regexp"
	"strings"
	"sync"
	"time"
)

// BootWatch is told every line of an emulated machine's console, and finds kernels
// that TCG has stopped on their way to init.
//
// While it boots, Linux changes its own code under the eyes of its other
// processors, with a breakpoint over the instruction as long as that lasts. The
// translator of QEMU 7.2, with a thread for each processor, may execute that
// breakpoint when it is gone ("Oops: int3"), or the guest stops without a word.
// Each was seen once in some thirty boots, on a busy host. The remedy is the reset
// button. The breakpoint may also show up after init, when the kernel changes its
// code again; nothing here helps then, and the kernel's panic takes its course.
type BootWatch struct {
	// Stuck is called for a kernel that will not get to init, to reset the
	// machine; a few times only, since one that never does has another reason.
	Stuck func()

	silence time.Duration // so long without a line is too long; bootSilence if 0

	mu    sync.Mutex
	timer *time.Timer // runs while the kernel boots
	found int
}

const (
	bootSilence = 60 * time.Second // far more than any step of a kernel takes before init
	maxStuck    = 3
)

// kernelBegins is in the kernel's first line.
var kernelBegins = regexp.MustCompile(`\] Linux version `)

// staleBreakpoint is what the kernel says of a breakpoint that it has not set.
const staleBreakpoint = "] Oops: int3"

// kernelLine is one that the kernel itself has written to the console, with its time
// before it, of which the console loses a character now and then.
var kernelLine = regexp.MustCompile(`^\[? *\d+\.?\d*\]?( |$)`)

// Line takes in the console's next line.
func (w *BootWatch) Line(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case kernelBegins.MatchString(text):
		w.disarm()
		w.timer = time.AfterFunc(cmp.Or(w.silence, bootSilence), w.stuck)
	case w.timer == nil:
	case !kernelLine.MatchString(text), strings.Contains(text, "] kios: "):
		w.disarm() // init runs
	case strings.Contains(text, staleBreakpoint):
		w.timer.Reset(0)
	default:
		w.timer.Reset(cmp.Or(w.silence, bootSilence))
	}
}

// stuck is what the timer calls.
func (w *BootWatch) stuck() {
	w.mu.Lock()
	w.disarm()
	w.found++
	again := w.found <= maxStuck
	w.mu.Unlock()
	if again {
		w.Stuck()
	}
}

func (w *BootWatch) disarm() {
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// StuckNote is what to tell of a reset for a BootWatch.
const StuckNote = "QEMU's translator has stopped the kernel before init: resetting the machine"

// unstick presses the reset button of a guest that TCG has stopped.
func (m *Machine) unstick() {
	if !m.running() {
		return
	}
	m.console.note("qemu: " + StuckNote)
	ctx, cancel := context.WithTimeout(context.Background(), m.Scale(20*time.Second))
	defer cancel()
	if err := m.resetToKernel(ctx); err != nil && m.running() {
		m.console.note("qemu: " + err.Error())
	}
}

// resetToKernel resets the machine also if it is to end when the guest does
// that: SeaBIOS resets it once more by itself.
func (m *Machine) resetToKernel(ctx context.Context) error {
	if !m.cfg.NoReboot {
		return m.Reset(ctx)
	}
	if err := m.onGuestReset(ctx, "reset"); err != nil {
		return err
	}
	next := len(m.Lines())
	if err := m.Reset(ctx); err != nil {
		return err
	}
	if _, err := m.expectFrom(ctx, next, kernelBegins); err != nil {
		return err
	}
	return m.onGuestReset(ctx, "shutdown")
}

func (m *Machine) onGuestReset(ctx context.Context, action string) error {
	_, err := m.Execute(ctx, "set-action", map[string]string{"reboot": action})
	return err
}
