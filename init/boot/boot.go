// Package boot is stage 2: PID 1 from its first instruction on the root file
// system to power-off. The boot is a list of steps (see bootSteps); stopping is
// the same list backwards.
//
// It leaves out everything that a pod can do: addresses, time, disks other
// than the data partition, drivers, updates.
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
	"kios/init/nodecert"
	"kios/init/notify"
	"kios/init/reap"
	"kios/init/supervise"
	"kios/init/systembus"
	"kios/init/systemsock"
	"kios/init/timeline"
	"kios/internal/cmdline"
	"kios/internal/consoleline"
	"kios/internal/logfile"
)

// Step is one entry of the boot.
type Step struct {
	Name string
	// Required steps end the boot when they fail; after others the node comes
	// up with less.
	Required bool
	// Run does the step, or is nil if there is only something to stop.
	Run func(*Node) error
	// Stop undoes what has to be undone before power-off, or is nil.
	Stop func(*Node) error
	// Remedy says what to look at when a required step has failed.
	Remedy string
}

// bootSteps is the boot in its order. containerd is started as soon as it has a
// place to work in, because it takes the longest: what follows runs while it
// starts, and the kubelet waits for it in its socket's queue.
func bootSteps() []Step {
	return []Step{
		{"devices", true, (*Node).mountDevices, nil, kernelRemedy},
		{"options", true, (*Node).readOptions, nil, ""},
		{"kernel-file-systems", true, (*Node).mountPseudo, nil, kernelRemedy},
		{"signals", true, (*Node).catchSignals, nil, ""},
		{"reaper", true, (*Node).startReaper, nil, ""},
		{"cgroups", true, (*Node).makeCgroups, nil, kernelRemedy},
		{"clock", false, (*Node).setClock, nil, ""},
		{"notify", true, (*Node).listenNotify, nil, rootRemedy},
		{"control", false, (*Node).listenControl, nil, ""},
		{"system-bus", false, (*Node).listenBus, nil, ""},
		{"system-socket", false, (*Node).listenSystemSocket, nil, ""},
		{"host-clock", false, (*Node).shareClock, nil, ""},
		{"clock-steps", false, (*Node).watchClock, nil, ""},
		{"mounts", false, nil, (*Node).unmountAll, ""},
		{"tmpfs", true, (*Node).mountTmpfs, nil, kernelRemedy},
		{"data-partition", false, (*Node).findAndMapData, nil, ""},
		{"etc", false, (*Node).mountEtc, nil, ""},
		{"shared-mounts", false, (*Node).shareMounts, nil, ""},
		{"logs", false, (*Node).startLogs, (*Node).stopLogs, ""},
		{"processes", false, nil, (*Node).killRest, ""},
		{"containerd", true, (*Node).startContainerd, (*Node).stopContainerd, rootRemedy},
		{"loopback", false, (*Node).loopbackUp, nil, ""},
		{"sysctls", false, (*Node).setSysctls, nil, ""},
		{"machine-id", false, (*Node).setMachineID, nil, ""},
		{"hostname", false, (*Node).setHostname, nil, ""},
		{"hosts", false, (*Node).writeHosts, nil, ""},
		{"certificate", false, (*Node).ensureCertificate, nil, ""},
		{"kubelet-config", true, (*Node).writeDropIn, nil, rootRemedy},
		{"containers", false, nil, (*Node).stopContainers, ""},
		{"kubelet", true, (*Node).startKubelet, (*Node).stopKubelet, rootRemedy},
	}
}

const (
	kernelRemedy = "the kernel lacks something that kiOS needs: boot the kernel that was built with it"
	rootRemedy   = "the root file system is not the one that was built with this init, or memory is full: write the EFI file again, give the machine more memory"
)

// Outcome is how PID 1 ends, for main to act on.
type Outcome struct {
	// Failure, if not nil, says why the machine cannot go on. Otherwise it was
	// stopped in order, and Action says what for.
	Failure error
	Remedy  string
	Action  systembus.Action
	// StayUp asks to keep a failed machine as it is (panic=0).
	StayUp bool
}

// Node is the state of the machine that PID 1 runs.
type Node struct {
	Log      *kmsg.Log
	Timeline *timeline.Timeline

	options cmdline.Options
	memory  uint64 // bytes
	cpus    int

	steps    []Step
	ran      []Step // in order
	signals  chan os.Signal
	crashed  chan error    // panics of goroutines
	requests chan request  // of pods, one at a time
	wishes   chan wish     // to stop the machine
	stopping chan struct{} // closed when that begins
	hurry    chan struct{} // closed when nobody is to be waited for any more

	reaper     *reap.Reaper
	notify     *notify.Server
	containerd *supervise.Daemon
	kubelet    *supervise.Daemon
	logs       []*logfile.File
	kernelLog  *os.File
	bus        *systembus.Server
	sock       *systemsock.Server

	workBound time.Duration

	started atomic.Bool  // a container of a pod has run
	watched atomic.Bool  // for the end of the boot
	grace   atomic.Int64 // what the kubelet gives pods when the node stops, a time.Duration

	mu        sync.Mutex
	daemons   []*supervise.Daemon // those that may send messages
	said      map[string]bool     // by complain
	ready     map[string]int      // processes of daemons that are ready, or were
	readyNews chan struct{}       // closed and replaced when ready changes

	data      data
	tried     map[string]bool // devices that takeData has moved onto
	machineID string
	hostname  string
	pair      nodecert.Pair // that the kubelet serves with
}

// New returns a Node that logs to the console until /dev/kmsg is there.
func New() *Node {
	n := &Node{
		Log:       kmsg.New(os.Stderr),
		Timeline:  timeline.New("/run/kios/boot.json"),
		options:   cmdline.Defaults,
		memory:    machine.TotalMemory(),
		cpus:      runtime.NumCPU(),
		steps:     bootSteps(),
		signals:   make(chan os.Signal, 8),
		crashed:   make(chan error, 1),
		requests:  make(chan request),
		wishes:    make(chan wish, 8),
		stopping:  make(chan struct{}),
		hurry:     make(chan struct{}),
		tried:     map[string]bool{},
		said:      map[string]bool{},
		ready:     map[string]int{},
		readyNews: make(chan struct{}),
		workBound: workBound,
	}
	n.grace.Store(int64(defaultGrace))
	return n
}

// Run brings the node up, keeps it up until it is told to stop, stops it, and
// returns what is to become of the machine. It does not panic.
func (n *Node) Run() (outcome Outcome) {
	defer func() {
		if v := recover(); v != nil {
			outcome = n.failed(panicError("main", v), "")
		}
	}()
	work := n.begin(func() error { return n.forward(0) })
	for {
		requests := n.requests
		if work != nil {
			requests = nil // one thing at a time
		}
		select {
		case err := <-n.crashed:
			return n.failed(err, "")
		case sig := <-n.signals:
			return n.end(work, wish{action: systembus.PowerOff, cause: signalCause(sig)})
		case w := <-n.wishes:
			return n.end(work, w)
		case err := <-work:
			if err != nil {
				return n.failed(err, n.remedy())
			}
			work = nil
		case r := <-requests:
			work = n.begin(func() error {
				refusal, failure := r.do()
				r.answer <- refusal
				return failure
			})
		}
	}
}

// begin runs do in another goroutine; the channel gets its error when it ends. A disk
// that hangs must not keep this one from hearing that the node is to stop.
func (n *Node) begin(do func() error) <-chan error {
	done := make(chan error, 1)
	n.spawn("work", func() { done <- do() })
	return done
}

// workBound is how long the node waits for the end of what it does before it stops.
// That may be to stop all daemons and start them again, for which containers have
// their time on top of it.
const workBound = 2 * time.Minute

// end stops the node, after the end of what it does. That gives up by itself what
// it has not got to when the bound has passed; see isStopping.
func (n *Node) end(work <-chan error, w wish) Outcome {
	bound := n.workBound + n.options.StopAfter
	if w.hurry {
		bound = hurryBound
	}
	if work != nil {
		n.Log.Notice("%s asks the node to stop: it first ends what it is doing, within %v", w.cause, bound)
	}
	late := time.After(bound)
	for work != nil {
		select {
		case err := <-work:
			if err != nil { // the wish holds: what was begun is stopped with the rest
				n.Log.Error("%v; the node stops all the same", err)
			}
			work = nil
		case err := <-n.crashed:
			return n.failed(err, "")
		case later := <-n.wishes:
			if later.hurry && !w.hurry {
				w.hurry, late = true, time.After(hurryBound)
			}
		case <-late:
			n.Log.Error("what the node was doing has not ended: it stops all the same")
			work = nil
		}
	}
	return n.stop(w)
}

// forward does the steps from the index first on.
func (n *Node) forward(first int) error {
	for _, s := range n.steps[first:] {
		if n.isStopping() {
			return errStopping
		}
		if err := n.step(s); err != nil && s.Required {
			return fmt.Errorf("step %s: %w", s.Name, err)
		}
	}
	n.saveTimeline()
	return nil
}

// remedy is that of the step that was done last.
func (n *Node) remedy() string { return n.ran[len(n.ran)-1].Remedy }

func (n *Node) failed(err error, remedy string) Outcome {
	if remedy == "" {
		remedy = "this is a bug of kiOS: please report it with the console's text"
	}
	return Outcome{Failure: err, Remedy: remedy, StayUp: n.options.StayUp}
}

// step runs one step and records how long it took.
func (n *Node) step(s Step) error {
	if s.Run == nil {
		n.ran = append(n.ran, s)
		return nil
	}
	start := time.Now()
	err := s.Run(n)
	took := time.Since(start)
	event := timeline.Event{Kind: "step", Name: s.Name}
	if err != nil {
		event.State, event.Error = "failed", err.Error()
		n.Log.Error("step %s failed: %v", s.Name, err)
	} else {
		n.Log.NoticeLine(consoleline.Line{Kind: consoleline.Step, Name: s.Name, Took: took})
	}
	n.Timeline.Add(event, took)
	n.ran = append(n.ran, s)
	return err
}

// spawn runs f in a goroutine whose panic does not leave the machine hanging.
func (n *Node) spawn(name string, f func()) {
	go func() {
		defer func() {
			if v := recover(); v != nil {
				err := panicError(name, v)
				n.Log.Error("%v", err)
				select {
				case n.crashed <- err:
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

// complain logs an error about a file or an option, but only once: files are
// read again whenever the kubelet is started again.
func (n *Node) complain(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	n.mu.Lock()
	known := n.said[text]
	n.said[text] = true
	n.mu.Unlock()
	if !known {
		n.Log.Error("%s", text)
	}
}

// saveTimeline writes the timeline's file; that this may fail on a full /run
// is worth a line, not more.
func (n *Node) saveTimeline() {
	if err := n.Timeline.Save(); err != nil {
		n.Log.Info("keep the timeline: %v", err)
	}
}
