package boot

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"kios/init/kmsg"
	"kios/init/machine"
	"kios/init/notify"
	"kios/init/reap"
	"kios/init/signals"
	"kios/init/systembus"
	"kios/init/systemsock"
	"kios/init/timeline"
	"kios/init/watchdog"
	"kios/internal/cmdline"
	"kios/internal/datapart"
	"kios/internal/gpt"
	"kios/internal/ratelimit"
)

// Node is the machine that PID 1 runs. Many goroutines use it: the main one, which
// decides what happens (Run); the work, which is the boot or a task; those of the
// sockets, of the daemons and of the clock. So each field has one of these owners:
//
//   - nobody: it is set by New and does not change;
//   - the main goroutine, which alone receives from the inbox (during the shutdown
//     receiveWhileStopping does);
//   - the work, which alone uses the fields of worker;
//   - itself: a type with a lock, or an atomic one.
type Node struct {
	// Set by New. What they point to may be used by several goroutines.
	Log      *kmsg.Log
	Timeline *timeline.Timeline

	once      *onceLog
	said      *saidLines
	strangers pacedLog // for lines that a pod can cause
	plan      plan
	memory    uint64 // bytes
	cpus      int
	reaper    *reap.Reaper
	workBound time.Duration
	bootBound time.Duration
	moveBound time.Duration
	stopping  *latch // the shutdown has begun
	immediate *latch // the shutdown waits for nobody any more
	ended     *latch // the shutdown is over
	failing   *latch // it cannot go on, and does not stop in order
	faulty    *latch // the node stops in order, because it does not work

	inbox inbox  // the main goroutine receives
	work  worker // the work owns it

	options atomic.Pointer[cmdline.Options] // set by a step
	bus     atomic.Pointer[systembus.Server]
	sock    atomic.Pointer[systemsock.Server]
	// What the watchdog is fed by, and the watchdog, if there is one.
	messages atomic.Pointer[notify.Server]
	watchdog atomic.Pointer[watchdog.Device]

	sysctlTrial atomic.Pointer[sysctlTrial] // until it is decided

	restarting sync.Map // units that clients of sock want to be started again
	history    history
	daemons    daemons
	trials     trials
	mounting   exclusive
	logs       logs
	self       self
	reports    reports
}

// inbox is how other goroutines reach the main one.
type inbox struct {
	signals   chan os.Signal
	crashes   chan error // panics of goroutines
	tasks     chan task  // received while no other work runs
	shutdowns chan shutdownRequest
	pings     chan struct{} // received to show that somebody does
}

// worker is what the work knows. One piece of work runs at a time, in a goroutine of
// its own, and begins after the one before has ended; see Run.
type worker struct {
	data      data
	dataPart  string          // as datapart= on the kernel command line
	attempted map[string]bool // devices that the node tried to move onto
	renaming  renaming        // the name that was offered last
	names     ratelimit.Limit // of names that are offered

	// Of the disk that the machine booted from, or zero.
	bootPartition gpt.GUID
	bootPath      datapart.BootPath
}

// New returns a Node that logs to the console until /dev/kmsg is there, and obeys
// the signals that were caught.
func New(caught signals.Caught) *Node {
	log := kmsg.New(os.Stderr)
	n := &Node{
		Log:       log,
		Timeline:  timeline.New("/run/kios/boot.json"),
		once:      newOnceLog(log),
		plan:      bootPlan(),
		memory:    machine.TotalMemory(),
		cpus:      runtime.NumCPU(),
		reaper:    reap.New(),
		workBound: workBound,
		bootBound: bootBound,
		moveBound: moveBound,
		stopping:  newLatch(),
		immediate: newLatch(),
		ended:     newLatch(),
		failing:   newLatch(),
		faulty:    newLatch(),
		inbox: inbox{
			signals:   caught.Stop,
			crashes:   make(chan error, 1),
			tasks:     make(chan task),
			shutdowns: make(chan shutdownRequest, 8),
			pings:     make(chan struct{}),
		},
		work: worker{
			dataPart:  cmdline.Defaults.DataPart,
			attempted: map[string]bool{},
			names:     ratelimit.Limit{Every: nameEvery, Burst: nameBurst},
		},
		daemons: newDaemons(),
		trials:  newTrials(),
	}
	n.said = newSaidLines(n.once)
	options := cmdline.Defaults
	n.options.Store(&options)
	n.reports.grace.Store(int64(defaultGrace))
	n.spawn("signals", func() { caught.LogStrays(n.Log.Warn) })
	return n
}

// Run brings the node up, keeps it up until it is told to stop, stops it, and
// returns what is to become of the machine. It does not panic.
func (n *Node) Run() (outcome Outcome) {
	defer func() {
		if v := recover(); v != nil {
			outcome = n.failure(panicError("main", v), "")
		}
	}()
	n.spawn("lines of the daemons", n.said.run)
	work := n.begin(func() error { return n.forward(0) })
	late := time.After(n.bootBound)
	for {
		tasks := n.inbox.tasks
		if work != nil {
			tasks = nil // one piece of work at a time
		}
		select {
		case err := <-n.inbox.crashes:
			return n.failure(err, "")
		case sig := <-n.inbox.signals:
			return n.shutdownAfter(work, requestOf(sig))
		case r := <-n.inbox.shutdowns:
			return n.shutdownAfter(work, r)
		case err := <-work:
			if err != nil {
				return n.failure(err, n.history.last().Remedy)
			}
			work, late = nil, nil // the first is the boot
		case <-late:
			return n.failure(fmt.Errorf("the step %s: %w: the boot has not ended within %v", n.history.running(), errHangs, n.bootBound), hangRemedy)
		case <-n.inbox.pings:
		case t := <-tasks:
			work = n.begin(t.run)
		}
	}
}

// bootBound is far more than a boot takes, emulated on a busy machine: each step that may
// have to wait has a bound of its own. Whatever hangs all the same is a device.
const (
	bootBound  = 10 * time.Minute
	hangRemedy = "a disk or another device does not answer: see what the kernel says of it, and check it or take it out"
)

// begin starts work; the channel gets its error when it ends. The main goroutine
// does not do it itself: a disk that hangs must not keep it from receiving that the
// node is to stop.
func (n *Node) begin(do func() error) <-chan error {
	done := make(chan error, 1)
	n.spawn("work", func() { done <- do() })
	return done
}

func (n *Node) failure(err error, remedy string) Outcome {
	if remedy == "" {
		remedy = "this is a bug of kiOS: please report it with the console's text"
	}
	n.failing.set()
	late := time.After(failBound)
	n.spawn("watchdog of a node that fails", func() { n.receiveWhileFailing(late) })
	return Outcome{Failure: err, Remedy: remedy, StayUp: n.options.Load().StayUp, Save: n.save}
}

// spawn runs f in a goroutine whose panic does not leave the machine hanging.
func (n *Node) spawn(name string, f func()) {
	go func() {
		defer func() {
			if v := recover(); v != nil {
				err := panicError(name, v)
				n.Log.Error("%v", err)
				select {
				case n.inbox.crashes <- err:
				default: // the first is enough
				}
			}
		}()
		f()
	}()
}

func panicError(where string, v any) error {
	return fmt.Errorf("panic in %s: %v\n%s", where, v, debug.Stack())
}

// saveTimeline writes the timeline's file; that this may fail on a full /run
// is worth a line, not more.
func (n *Node) saveTimeline() {
	if err := n.Timeline.Save(); err != nil {
		n.Log.Info("write the timeline: %v", err)
	}
}

// latch is a state that begins once and does not end. Several goroutines may use it.
type latch struct {
	once sync.Once
	c    chan struct{}
}

func newLatch() *latch { return &latch{c: make(chan struct{})} }

func (l *latch) set() { l.once.Do(func() { close(l.c) }) }

// done is closed when the state has begun.
func (l *latch) done() <-chan struct{} { return l.c }

func (l *latch) isSet() bool {
	select {
	case <-l.c:
		return true
	default:
		return false
	}
}
