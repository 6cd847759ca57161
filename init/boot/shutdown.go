package boot

import (
	"errors"
	"os"
	"slices"
	"time"

	"kios/init/cgroup"
	"kios/init/signals"
	"kios/init/systembus"
	"kios/internal/consoleline"
	"kios/internal/kubeletargs"
)

// shutdownRequest asks for the end of the machine.
type shutdownRequest struct {
	action    systembus.Action
	cause     string
	immediate bool // wait for nobody
}

// Bounds of the shutdown. Together they are the reason that it always ends.
const (
	defaultGrace   = 30 * time.Second // the kubelet's, until it has told its own: see kubelet.yaml
	lockMargin     = 5 * time.Second  // on top of it, for the kubelet's own work
	reportBound    = 5 * time.Second  // for the kubelet to report how pods ended, or what locks left of their time
	reportsQuiet   = 2 * time.Second  // of that, without a line: the cluster usually answers
	reportsAgain   = 30 * time.Second // and between two lines
	stepBound      = 20 * time.Second // for a step; daemonBound and killBound of supervise are within it
	alreadyQuiet   = 30 * time.Second // between two answers to who asks again: hypervisors do so
	immediateBound = time.Second      // for containers when nobody is to be waited for

	// workBound is how long the node waits for the end of its work before it stops.
	// The work may be to stop all daemons and start them again, for which containers
	// have their time on top of it.
	workBound = 2 * time.Minute
)

var (
	errStopping = errors.New("the node is being stopped")
	errHangs    = errors.New("it hangs")
)

// requestShutdown hands a request to the main goroutine. It is dropped if several
// are waiting already: the node stops in any case.
func (n *Node) requestShutdown(r shutdownRequest) {
	select {
	case n.inbox.shutdowns <- r:
	default:
	}
}

var actionWords = map[systembus.Action]string{
	systembus.PowerOff: "powering off", systembus.Reboot: "restarting", systembus.Halt: "halting",
}

// shutdownAfter stops the node when its work has ended, or after a bound. Work that
// has not ended by then does not begin another step: see forward.
func (n *Node) shutdownAfter(work <-chan error, r shutdownRequest) Outcome {
	bound := n.workBound + n.options.Load().StopAfter
	if r.immediate {
		bound = immediateBound
	}
	if work != nil {
		n.Log.Notice("%s asks the node to stop: it first ends what it is doing, within %v", r.cause, bound)
	}
	late := time.After(bound)
	for work != nil {
		select {
		case err := <-work:
			if err != nil { // the request holds: what was begun is stopped with the rest
				n.Log.Error("%v; the node stops all the same", err)
			}
			work = nil
		case err := <-n.inbox.crashes:
			return n.failure(err, "")
		case <-n.inbox.pings:
		case later := <-n.inbox.shutdowns:
			if later.immediate && !r.immediate {
				r.immediate, late = true, time.After(immediateBound)
			}
		case <-late:
			n.Log.Error("what the node was doing has not ended: it stops all the same")
			work = nil
		}
	}
	return n.shutdown(r)
}

// shutdown tells those who want to know, waits for them, and runs the Stop of each
// step that has run, the last first.
func (n *Node) shutdown(r shutdownRequest) Outcome {
	n.Log.Notice(consoleline.Stopping+"%s asks", r.cause)
	start := time.Now()
	n.stopping.set()
	if r.immediate {
		n.immediate.set()
	}
	steps := append(n.history.list(), announceStep(r.action))
	late := time.After(n.stopBound(steps))
	n.spawn("requests during the shutdown", func() { n.receiveWhileStopping(late) })
	for _, s := range slices.Backward(steps) {
		if s.Stop != nil {
			n.stopStep(s)
		}
	}
	n.ended.set()
	n.letGo(r.action)
	n.Log.Notice("stopped in %d ms, %s", time.Since(start).Milliseconds(), actionWords[r.action])
	return Outcome{Action: r.action}
}

// stopBound is how long it may take to stop these steps.
func (n *Node) stopBound(steps []*Step) time.Duration {
	var sum time.Duration
	for _, s := range steps {
		if s.Stop != nil {
			sum += stepBound + s.patience(n)
		}
	}
	return sum
}

// receiveWhileStopping logs what is requested during the shutdown. One request has an
// effect: not to wait any more. When it is late, the shutdown has failed to end, and the
// watchdog is not fed any more.
func (n *Node) receiveWhileStopping(late <-chan time.Time) {
	pings := n.inbox.pings
	already := func(again *pace, cause string) {
		if again.allows(alreadyQuiet) {
			n.Log.Notice("stopping already (%s)", cause)
		}
	}
	var keys, clients pace // a person at the machine is answered, whatever pods send
	for {
		select {
		case <-pings:
		case <-late:
			pings = nil
		case sig := <-n.inbox.signals:
			already(&keys, requestOf(sig).cause)
		case r := <-n.inbox.shutdowns:
			if !r.immediate || n.immediate.isSet() {
				already(&clients, r.cause)
				continue
			}
			n.Log.Notice("waiting for nobody any more, as %s asks", r.cause)
			n.immediate.set()
		}
	}
}

// announceStep is the first step of the shutdown, which no step of the boot has
// begun.
func announceStep(a systembus.Action) *Step {
	return &Step{
		Name:     "announce",
		Stop:     func(n *Node) error { n.announce(a); return nil },
		Patience: func(n *Node) time.Duration { return n.lockBound() + reportBound },
	}
}

// announce tells the clients of the bus and of the old socket, and waits for
// those who hold a lock: the kubelet stops its pods meanwhile, in the order of
// their priorities, each with its grace. A kubelet that ends now is not started
// again, because it would start pods.
func (n *Node) announce(a systembus.Action) {
	if kubelet := n.daemons.kubelet(); kubelet != nil {
		kubelet.Last()
	}
	if sock := n.sock.Load(); sock != nil {
		sock.Announce()
	}
	bus := n.bus.Load()
	if bus == nil {
		return
	}
	bus.PrepareForShutdown(a)
	locks, bound := bus.Delays(), n.lockBound()
	late := time.Now().Add(bound)
	if !n.awaitLocks(locks, bound) {
		return
	}
	held := slices.ContainsFunc(locks, func(l *systembus.Lock) bool { return l.Who == "kubelet" })
	if held && !(kubeletargs.Files{Root: "/"}).Standalone() {
		n.awaitReports(cgroupRoot, max(reportBound, time.Until(late).Round(time.Second)))
	}
}

// lockBound is for all locks together. The kubelet's own is what it was
// configured to give pods.
func (n *Node) lockBound() time.Duration {
	return time.Duration(n.reports.grace.Load()) + lockMargin
}

// awaitLocks waits until the locks are released, but no longer than the bound,
// and names those that were not. It tells whether all were.
func (n *Node) awaitLocks(locks []*systembus.Lock, bound time.Duration) bool {
	start := time.Now()
	late := time.After(bound)
	for _, l := range locks {
		n.Log.Notice("waiting for %s, at most %v", l, bound)
	}
	for _, l := range locks {
		if !isReleased(l) {
			select {
			case <-l.Released():
			case <-n.immediate.done():
				return false
			case <-late:
				n.logHolders(locks, bound)
				return false
			}
		}
		n.Log.Notice("%s (process %d) let go after %d ms", l.Who, l.PID, l.Ended().Sub(start).Milliseconds())
	}
	return true
}

// logHolders names those who have not released their locks.
func (n *Node) logHolders(locks []*systembus.Lock, bound time.Duration) {
	for _, l := range locks {
		if !isReleased(l) {
			n.Log.Warn("%s did not let go within %v: the node stops without it", l, bound)
		}
	}
}

func isReleased(l *systembus.Lock) bool {
	select {
	case <-l.Released():
		return true
	default:
		return false
	}
}

// awaitReports lets the kubelet tell the cluster how its pods ended. The kubelet
// releases its lock earlier: when it has killed the last pod, or the last pod's time
// is up. If it ended then, the cluster would wait for these pods for minutes before
// it started others in their place.
func (n *Node) awaitReports(cgroups string, bound time.Duration) {
	start := time.Now()
	late := time.After(bound)
	poll := time.NewTicker(20 * time.Millisecond) // nobody is told of the end of a cgroup
	defer poll.Stop()
	long := time.NewTimer(reportsQuiet)
	defer long.Stop()
	for {
		left := cgroup.Pods(cgroups)
		if left == 0 {
			n.Log.Notice("the kubelet was done with all pods after another %d ms", time.Since(start).Milliseconds())
			return
		}
		if n.kubeletIsGone() {
			n.Log.Warn("the kubelet has ended before all pods were done (left: %d): the cluster may not learn how they ended", left)
			return
		}
		select {
		case <-poll.C:
		case <-long.C:
			n.Log.Notice("waiting for the kubelet to tell the cluster how pods ended (left: %d), at most %v in all", left, bound)
			long.Reset(reportsAgain)
		case <-n.immediate.done():
			return
		case <-late:
			n.Log.Warn("the kubelet is not done with all pods within %v (left: %d): the cluster may not learn how they ended", bound, left)
			return
		}
	}
}

// requestOf returns what a signal asks for. Ctrl-Alt-Del restarts, as on every Linux:
// at a remote console it is the only key to do so.
func requestOf(sig os.Signal) shutdownRequest {
	switch sig {
	case signals.PowerButton:
		return shutdownRequest{action: systembus.PowerOff, cause: "the power button"}
	case signals.CtrlAltDel:
		return shutdownRequest{action: systembus.Reboot, cause: "Ctrl-Alt-Del"}
	}
	return shutdownRequest{action: systembus.PowerOff, cause: signals.Name(sig)}
}
