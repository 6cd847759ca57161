package supervise

import (
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// End is how a process ended that should not have.
type End struct {
	Status syscall.WaitStatus
	Hung   bool // it was ended because it hung
	// Lines are the last ones of its output that are worth showing.
	Lines []string
}

// Abort ends a process that hangs: with SIGABRT, upon which a Go program writes what all
// its goroutines do, or with SIGKILL if it takes longer than the bound. Nobody asked for
// that end, so it is reported, and Run starts the daemon again.
func (d *Daemon) Abort(bound time.Duration) {
	p := d.current()
	if p == nil {
		return
	}
	d.hung.Store(true)
	p.Signal(unix.SIGABRT)
	select {
	case <-p.Done():
	case <-time.After(bound):
		p.Signal(unix.SIGKILL)
	}
}

// Recent returns the last lines worth showing so far.
func (o *Output) Recent() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.tail)
}
