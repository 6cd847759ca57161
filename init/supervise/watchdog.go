package supervise

import (
	"time"

	"kios/init/reap"

	"golang.org/x/sys/unix"
)

// Bounds of the end of a daemon that hangs.
const (
	dumpBound  = 30 * time.Second // to write what its goroutines do, which under emulation takes a while
	stuckBound = time.Minute      // to end after SIGKILL
)

// beats is into how many parts the time is cut that a daemon may be silent. They are
// counted, not the time itself: a machine that was suspended, or had no processor to
// run on, has not heard its daemons for as long, and they are not to blame.
const beats = 12

// Alive is called when the daemon reports that it works (WATCHDOG=1). The first report
// of a process makes it one that must go on with that.
func (d *Daemon) Alive() {
	select {
	case d.alive <- struct{}{}:
	default: // one is waiting already
	}
}

// forgetReports drops a report of a process that has ended.
func (d *Daemon) forgetReports() {
	select {
	case <-d.alive:
	default:
	}
}

// awaitEnd waits for the end of the process. It ends one that has become silent.
func (d *Daemon) awaitEnd(p *reap.Process) {
	if d.Watchdog != 0 && d.silent(p) {
		d.Log.Error("%s (pid %d) has not reported for %v: it hangs, and is ended", d.Name, p.Pid, d.Watchdog)
		d.abort(p, dumpBound)
	}
	<-p.Done()
}

// silent returns true when the process was silent for too long, and false when it has
// ended.
func (d *Daemon) silent(p *reap.Process) bool {
	beat := time.NewTicker(d.Watchdog / beats)
	defer beat.Stop()
	for missed, reported := 0, false; missed < beats; {
		select {
		case <-p.Done():
			return false
		case <-d.alive:
			missed, reported = 0, true
		case <-beat.C:
			if reported {
				missed++
			}
		}
	}
	return true
}

// abort ends a process that hangs. SIGABRT has a Go program write what each of its
// goroutines does, which goes into its log. SIGCONT is for one that was stopped.
func (d *Daemon) abort(p *reap.Process, bound time.Duration) {
	d.hung.Store(true)
	p.Signal(unix.SIGABRT)
	p.Signal(unix.SIGCONT)
	if endsWithin(p, bound) {
		return
	}
	p.Signal(unix.SIGKILL)
	if !endsWithin(p, stuckBound) && d.Stuck != nil {
		d.Log.Error("%s (pid %d) did not end within %v of SIGKILL: it hangs in the kernel", d.Name, p.Pid, stuckBound)
		d.Stuck()
	}
}

func endsWithin(p *reap.Process, bound time.Duration) bool {
	select {
	case <-p.Done():
		return true
	case <-time.After(bound):
		return false
	}
}
