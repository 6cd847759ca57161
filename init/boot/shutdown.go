package boot

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"kios/init/cgroup"
	"kios/init/systembus"
	"kios/internal/consoleline"
	"kios/internal/kubeletargs"
)

// wish is what somebody wants to become of the machine.
type wish struct {
	action systembus.Action
	cause  string
	hurry  bool // wait for nobody
}

// Bounds of stopping. Together they are the reason that it always ends.
const (
	defaultGrace = 30 * time.Second // the kubelet's, until it has told its own: see kubelet.yaml
	lockMargin   = 5 * time.Second  // on top of it, for the kubelet's own work
	reportBound  = 5 * time.Second  // for the kubelet to report how pods ended, or what locks left of their time
	stepBound    = 20 * time.Second // for a step; daemonBound and killBound of supervise are within it
	hurryBound   = time.Second      // for containers when somebody is in a hurry
)

var (
	errStopping = errors.New("the node is being stopped")
	errHangs    = errors.New("it hangs")
)

// wish hands a wish to the main goroutine. If several are waiting already, this
// one will find that nothing is left of it to do.
func (n *Node) wish(w wish) {
	select {
	case n.wishes <- w:
	default:
	}
}

// ask has something done as a request: while that stops and starts daemons, nobody
// else may.
func (n *Node) ask(do func() error) error {
	return n.request(func() (refusal, failure error) { return do(), nil })
}

func (n *Node) request(do func() (refusal, failure error)) error {
	r := request{do, make(chan error, 1)}
	select {
	case n.requests <- r:
		return <-r.answer
	case <-n.stopping:
		return errStopping
	}
}

func (n *Node) isStopping() bool {
	select {
	case <-n.stopping:
		return true
	default:
		return false
	}
}

var actionWords = map[systembus.Action]string{
	systembus.PowerOff: "powering off", systembus.Reboot: "restarting", systembus.Halt: "halting",
}

// stop tells those who want to know, waits for them, and runs the Stop of each
// step that was run, the last first.
func (n *Node) stop(w wish) Outcome {
	n.Log.Notice("stopping, as %s asks", w.cause)
	start := time.Now()
	close(n.stopping)
	if w.hurry {
		close(n.hurry)
	}
	n.spawn("wishes while stopping", n.ignoreWishes)
	n.stopStep(Step{Name: "announce", Stop: func(n *Node) error { return n.announce(w.action) }})
	for _, s := range slices.Backward(n.ran) {
		if s.Stop != nil {
			n.stopStep(s)
		}
	}
	n.Log.Notice("stopped in %d ms, %s", time.Since(start).Milliseconds(), actionWords[w.action])
	return Outcome{Action: w.action}
}

// ignoreWishes logs what is asked for while the node is being stopped. One thing
// is heard: not to wait any more.
func (n *Node) ignoreWishes() {
	for {
		select {
		case sig := <-n.signals:
			n.Log.Notice("stopping already (%s)", signalCause(sig))
		case w := <-n.wishes:
			if !w.hurry {
				n.Log.Notice("stopping already (%s)", w.cause)
				continue
			}
			n.Log.Notice("waiting for nobody any more, as %s asks", w.cause)
			if !n.inHurry() {
				close(n.hurry)
			}
		}
	}
}

func (n *Node) inHurry() bool {
	select {
	case <-n.hurry:
		return true
	default:
		return false
	}
}

// announce tells the clients of the bus and of the old socket, and waits for
// those who hold a lock: the kubelet stops its pods meanwhile, in the order of
// their priorities, each with its grace. A kubelet that ends now is not started
// again, as it would start pods.
func (n *Node) announce(a systembus.Action) error {
	if kubelet := n.kubeletDaemon(); kubelet != nil {
		kubelet.Last()
	}
	if n.sock != nil {
		n.sock.Announce()
	}
	if n.bus == nil {
		return nil
	}
	n.bus.PrepareForShutdown(a)
	locks, bound := n.bus.Delays(), n.lockBound()
	late := time.Now().Add(bound)
	if !n.awaitLocks(locks, bound) {
		return nil
	}
	held := slices.ContainsFunc(locks, func(l *systembus.Lock) bool { return l.Who == "kubelet" })
	if held && !(kubeletargs.Files{Root: "/"}).Standalone() {
		n.awaitReports(cgroupRoot, max(reportBound, time.Until(late).Round(time.Second)))
	}
	return nil
}

// awaitReports lets the kubelet tell the cluster how its pods ended. It lets go of
// its lock earlier: when it has killed the last pod, or the last pod's time is up.
// If it ended then, the cluster would wait for these pods for minutes before it
// started others in their place.
func (n *Node) awaitReports(cgroups string, bound time.Duration) {
	start := time.Now()
	late := time.After(bound)
	look := time.NewTicker(20 * time.Millisecond) // cgroups tell nobody that they are removed
	defer look.Stop()
	for {
		left := cgroup.Pods(cgroups)
		if left == 0 {
			n.Log.Notice("the kubelet was done with all pods after another %d ms", time.Since(start).Milliseconds())
			return
		}
		select {
		case <-look.C:
		case <-n.hurry:
			return
		case <-late:
			n.Log.Warn("the kubelet is not done with all pods within %v (left: %d): the cluster may not learn how they ended", bound, left)
			return
		}
	}
}

// lockBound is for all locks together. The kubelet's own is what it was
// configured to give pods.
func (n *Node) lockBound() time.Duration {
	return time.Duration(n.grace.Load()) + lockMargin
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
		select {
		case <-l.Released():
			n.Log.Notice("%s (process %d) let go after %d ms", l.Who, l.PID, l.Ended().Sub(start).Milliseconds())
			continue
		default:
		}
		select {
		case <-l.Released():
			n.Log.Notice("%s (process %d) let go after %d ms", l.Who, l.PID, l.Ended().Sub(start).Milliseconds())
		case <-n.hurry:
			return false
		case <-late:
			n.nameHolders(locks, bound)
			return false
		}
	}
	return true
}

// nameHolders tells who has kept the node waiting in vain.
func (n *Node) nameHolders(locks []*systembus.Lock, bound time.Duration) {
	for _, l := range locks {
		select {
		case <-l.Released():
		default:
			n.Log.Warn("%s did not let go within %v: the node stops without it", l, bound)
		}
	}
}

// stopStep goes on after errors, panics and hangs: nothing is gained by a
// machine that is half stopped. A step that hangs is left alone.
func (n *Node) stopStep(s Step) {
	start := time.Now()
	bound := stepBound + n.patience(s.Name)
	err := within(bound, func() (err error) {
		defer func() {
			if v := recover(); v != nil {
				err = panicError("stop "+s.Name, v)
			}
		}()
		return s.Stop(n)
	})
	if err != nil {
		n.Log.Error("stop %s: %v", s.Name, err)
	}
	n.Log.NoticeLine(consoleline.Line{Kind: consoleline.Stop, Name: s.Name, Took: time.Since(start)})
}

// patience is what a step has on top of stepBound, because it waits for others.
func (n *Node) patience(step string) time.Duration {
	switch step {
	case "announce":
		return n.lockBound() + reportBound
	case "containers":
		return n.options.StopAfter
	case "mounts":
		return 2 * diskBound
	}
	return 0
}

// within runs f, and leaves it running if it takes longer than the bound.
func within(bound time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(bound):
		return fmt.Errorf("%w: no end within %v", errHangs, bound)
	}
}

// powerButton is what the kernel sends to PID 1 when the button is pressed and
// there is no ACPI daemon (drivers/acpi/tiny-power-button.c; 38 is the default
// of CONFIG_ACPI_TINY_POWER_BUTTON_SIGNAL).
const powerButton = syscall.Signal(38)

func signalCause(sig os.Signal) string {
	switch sig {
	case powerButton:
		return "the power button"
	case syscall.SIGINT:
		return "Ctrl-Alt-Del"
	}
	return sig.String()
}
