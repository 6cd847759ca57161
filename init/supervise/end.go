package supervise

import (
	"slices"
	"syscall"
	"time"
)

// End is how a process ended that should not have.
type End struct {
	// Failed says why there was no process at all; the rest is not set then.
	Failed error
	Status syscall.WaitStatus
	Hung   bool // it was ended because it hung
	// Lines are the last ones of its output that are worth showing.
	Lines []string
}

// Abort ends the process as one that hangs, which may take as long as the bound to write
// what it does. Nobody asked for that end, so it is reported, and Run starts the daemon
// again.
func (d *Daemon) Abort(bound time.Duration) {
	if p := d.current(); p != nil {
		d.abort(p, bound)
	}
}

// Recent returns the last lines worth showing so far.
func (o *Output) Recent() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.tail)
}
