package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"kios/host/console"
	"kios/host/kubeletapi"
	"kios/host/qemu"
)

// watch follows a node from power-on to power-off. The console's lines come from
// QEMU, the pods from the kubelet, and the request to stop from the terminal.
type watch struct {
	print     *console.Printer
	plan      *runPlan
	poweredOn time.Time // the wall clock, which the guest shares

	m     *qemu.Machine
	api   *kubeletapi.Client
	table string // the last one printed

	metadata metadataLog
	stopping chan struct{}
	isOff    sync.Once // closes stopping: the node has noticed the power button

	done bool // all pods have run at some time

	mu         sync.Mutex
	lastWords  string // the kernel's, if it panicked
	tooSmall   bool   // the EFI stub had no memory for the initrd
	stranded   chan struct{}
	isStranded sync.Once // closes stranded: the firmware could start nothing
	ready      chan struct{}
	isReady    sync.Once // closes ready: the kubelet is there
}

func newWatch(print *console.Printer, plan *runPlan) *watch {
	return &watch{print: print, plan: plan, ready: make(chan struct{}), stopping: make(chan struct{}), stranded: make(chan struct{})}
}

// line takes in one line of the console.
func (w *watch) line(l qemu.Line) {
	e := console.Parse(l.Text)
	w.print.Event(l.At, e)
	switch {
	case e.Kind == console.Problem || e.Kind == console.Warning:
		w.metadata.see(e.Text)
	case e.Stops():
		w.isOff.Do(func() { close(w.stopping) })
	case e.Kind == console.Ready && e.Name == "kubelet":
		w.isReady.Do(func() { close(w.ready) })
	case e.Kind == console.Panic:
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.lastWords == "" {
			w.lastWords = e.Text
		}
	case strings.Contains(l.Text, firmwareShell):
		w.isStranded.Do(func() { close(w.stranded) })
	case strings.Contains(l.Text, noMemoryForInitrd):
		w.mu.Lock()
		defer w.mu.Unlock()
		w.tooSmall = true
	}
}

// noMemoryForInitrd is what the kernel's EFI stub says (drivers/firmware/efi/libstub), with
// EFI_OUT_OF_RESOURCES. The kernel then finds no init.
const noMemoryForInitrd = "Failed to load initrd: 0x8000000000000009"

// firmwareShell is what the firmware starts where it can start nothing else.
const firmwareShell = `"EFI Internal Shell"`

// follow returns when the machine has ended. It is nil for a clean power-off.
func (w *watch) follow(m *qemu.Machine, api *kubeletapi.Client, signals <-chan os.Signal) error {
	w.m, w.api = m, api
	for _, text := range w.plan.warning {
		w.print.Problem(m.Uptime(), "%s", text)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pods := w.poll(ctx)
	late := w.lateness()
	for {
		select {
		case <-m.Done():
			return w.ended()
		case <-w.stranded:
			m.Kill()
			return errors.New("the firmware could start nothing: the machine has too little memory to load the system (give it more with --memory), or the disk has no EFI file for it")
		case <-signals:
			cancel()
			return w.powerOff(signals)
		case now := <-pods:
			w.show(now)
			if w.done && w.plan.options.exitWhenRunning {
				cancel()
				return w.powerOff(signals)
			}
		case <-late:
			m.Kill()
			return fmt.Errorf("not all pods are running after %s", m.Uptime().Round(time.Second))
		}
	}
}

// lateness bounds a run that nobody watches.
func (w *watch) lateness() <-chan time.Time {
	if !w.plan.options.exitWhenRunning {
		return nil
	}
	return time.After(w.m.Scale(time.Minute))
}

// poll asks the kubelet for its pods once a second, from when it says that it
// is ready.
func (w *watch) poll(ctx context.Context) <-chan []kubeletapi.Pod {
	if w.api == nil {
		return nil
	}
	updates := make(chan []kubeletapi.Pod)
	go func() {
		select {
		case <-w.ready:
		case <-ctx.Done():
			return
		}
		silence := silence{since: time.Now(), bound: w.m.Scale(6 * time.Second)}
		defer w.sayMetadata()
		for ctx.Err() == nil {
			w.sayMetadata()
			if pods, err := w.ask(ctx); err == nil {
				silence.end()
				w.askMetadata(ctx, pods)
				select {
				case updates <- pods:
				case <-ctx.Done():
				}
			} else if silence.tooLong() && ctx.Err() == nil {
				w.print.Problem(w.m.Uptime(), "the kubelet's API does not answer: %v%s", err, w.whyUserData())
			}
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	}()
	return updates
}

// askMetadata asks for what the pod that reads user data says.
func (w *watch) askMetadata(ctx context.Context, pods []kubeletapi.Pod) {
	if w.plan.options.userData != "" {
		w.metadata.ask(ctx, w.api, pods)
	}
}

// sayMetadata shows it.
func (w *watch) sayMetadata() {
	for _, line := range w.metadata.news() {
		w.print.Note(w.m.Uptime(), "metadata: %s", line)
	}
}

// whyUserData explains why a kubelet may not answer.
func (w *watch) whyUserData() string {
	if w.plan.options.userData == "" {
		return ""
	}
	return "; a node that joins a cluster asks that one who may see its pods"
}

// ask makes one attempt. It is short, since a connection that was opened
// before the guest had its address is slow to come to life.
func (w *watch) ask(ctx context.Context) ([]kubeletapi.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, w.m.Scale(time.Second))
	defer cancel()
	return w.api.Pods(ctx)
}

// silence notices, once, that something has not answered for long.
type silence struct {
	since time.Time
	bound time.Duration
	said  bool
}

func (s *silence) end() { s.since, s.said = time.Now(), false }

func (s *silence) tooLong() bool {
	if s.said || time.Since(s.since) < s.bound {
		return false
	}
	s.said = true
	return true
}

// show prints the table when it has news: all pods run, something is in the
// way, or anything changed afterwards. What happens on the way there is on the
// console.
func (w *watch) show(pods []kubeletapi.Pod) {
	table := podTable(pods, w.poweredOn, w.plan.noCNI)
	done := w.allRun(pods)
	if table == w.table || !done && !w.done && !anyProblem(pods, w.plan.noCNI) {
		return
	}
	w.table = table
	w.print.Block("\n" + table + "\n")
	if done && !w.done && !w.plan.options.exitWhenRunning {
		w.print.Note(w.m.Uptime(), "all pods are running; press Ctrl-C to switch the machine off%s", w.curl())
	}
	w.done = w.done || done
}

// curl tells how to ask the kubelet by hand, if the keys for it are kept.
func (w *watch) curl() string {
	if w.plan.options.keep == "" {
		return ""
	}
	at := w.plan.path("pki/")
	return fmt.Sprintf("\n           curl --cacert %s/ca.crt --cert %s/client.crt --key %s/client.key https://%s/pods", at, at, at, w.m.Addr(kubeletapi.Port))
}

// allRun reports whether all pods of the manifests, and whatever else the
// kubelet is to run, are there and run.
func (w *watch) allRun(pods []kubeletapi.Pod) bool {
	for _, want := range w.plan.expect {
		if _, ok := kubeletapi.Find(pods, want.namespace, want.name); !ok {
			return false
		}
	}
	return len(pods) > 0 && !slices.ContainsFunc(pods, func(p kubeletapi.Pod) bool { return !p.Done() })
}

// powerOff presses the power button and waits for the end, which it bounds.
func (w *watch) powerOff(signals <-chan os.Signal) error {
	w.print.Note(w.m.Uptime(), "power button pressed; waiting for a clean power-off (Ctrl-C cuts the power)")
	ctx, cancel := context.WithTimeoutCause(context.Background(), w.stopBound(),
		fmt.Errorf("the machine did not switch itself off within %s, so its power was cut", w.stopBound()))
	defer cancel()
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	go func() {
		if secondSignal(ctx, signals) {
			cut(errors.New("interrupted twice: the power was cut"))
		}
	}()
	if _, err := w.m.PowerOff(ctx, w.stopping); err != nil {
		w.m.Kill()
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return err
	}
	return w.ended()
}

// stopBound is more than a node needs even if its kubelet, containerd and pods all
// hang: a minute and a half, and more on a slow machine. Pods with more than the
// usual 30 seconds of grace leave less of it.
func (w *watch) stopBound() time.Duration { return 2*time.Minute + w.m.Scale(15*time.Second) }

// ended says whether the machine's end was a good one.
func (w *watch) ended() error {
	end, err := w.m.Wait(context.Background())
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.lastWords != "":
		return w.panicked()
	case end == qemu.PoweredOff:
		w.print.Note(w.m.Uptime(), "powered off")
		return nil
	case end == qemu.Rebooted:
		return errors.New("the node restarted the machine: a pod asked for that, or the node could not continue (see above)")
	}
	return fmt.Errorf("the machine ended: %s", end)
}

// panicked says why the kernel has.
func (w *watch) panicked() error {
	if w.tooSmall {
		return errors.New("the machine has too little memory to load the system: give it more with --memory")
	}
	return fmt.Errorf("the node's kernel panicked: %s", w.lastWords)
}
