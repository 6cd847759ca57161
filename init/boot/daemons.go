package boot

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"kios/init/notify"
	"kios/init/supervise"
	"kios/init/systembus"
	"kios/internal/daemonenv"
)

const notifySocket = "/run/kios/notify"

// Bounds of stopping.
const (
	daemonBound  = 10 * time.Second // for a daemon, before it is killed
	sandboxBound = 5 * time.Second  // for pause, which ends at once
	restBound    = 2 * time.Second  // for what is left after containerd
)

// watchdogBound is how long a daemon may not report that it works. Under emulation, on a
// busy machine, a minute may be what a few seconds are elsewhere.
const watchdogBound = 2 * time.Minute

// watchdogTold is what daemons are told that it is. They report at half that time, so one
// has missed three reports before it is ended: a single one may be late, or be lost.
const watchdogTold = time.Minute

// daemons are those that have been started, and what they have reported. The work
// starts them; the goroutines of the sockets, of the clock and of the shutdown look
// for them.
type daemons struct {
	mu      sync.Mutex
	list    []*supervise.Daemon
	ready   map[string]int // by name, the process that was the last to be ready
	changed chan struct{}  // closed and replaced when ready changes
}

func newDaemons() daemons {
	return daemons{ready: map[string]int{}, changed: make(chan struct{})}
}

func (d *daemons) add(daemon *supervise.Daemon) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, daemon)
}

// forget is for daemons that have been stopped. It closes what was kept open for them.
func (d *daemons) forget() {
	d.mu.Lock()
	list := d.list
	d.list = nil
	d.mu.Unlock()
	for _, daemon := range list {
		if daemon.Output != nil {
			daemon.Output.Close()
		}
		for _, f := range daemon.Files {
			f.Close()
		}
	}
}

// all returns the daemons that have been started.
func (d *daemons) all() []*supervise.Daemon {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.list)
}

// find returns the first daemon that fits, or nil.
func (d *daemons) find(fits func(*supervise.Daemon) bool) *supervise.Daemon {
	list := d.all()
	if i := slices.IndexFunc(list, fits); i >= 0 {
		return list[i]
	}
	return nil
}

// named returns the daemon with a name, or nil if it has not been started.
func (d *daemons) named(name string) *supervise.Daemon {
	return d.find(func(s *supervise.Daemon) bool { return s.Name == name })
}

// unit returns the daemon of a unit, or nil if it has not been started.
func (d *daemons) unit(unit string) *supervise.Daemon {
	return d.find(func(s *supervise.Daemon) bool { return s.Name+".service" == unit })
}

// sender returns the name of the daemon with a process number.
func (d *daemons) sender(pid int) (name string, known bool) {
	if s := d.find(func(s *supervise.Daemon) bool { return s.Pid() == pid }); s != nil {
		return s.Name, true
	}
	return "", false
}

// setReady records that the process of a daemon that runs now is ready.
func (d *daemons) setReady(name string) {
	daemon := d.named(name)
	if daemon == nil {
		return
	}
	pid := daemon.Pid()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready[name] = pid
	close(d.changed)
	d.changed = make(chan struct{})
}

// readyPID returns the process of a daemon that was the last to be ready, or 0. The
// channel is closed when that may have changed.
func (d *daemons) readyPID(name string) (pid int, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ready[name], d.changed
}

func (n *Node) listenNotify() error { return n.listenNotifyAt(notifySocket) }

func (n *Node) listenNotifyAt(path string) error {
	server, err := notify.Listen(path)
	if err != nil {
		return err
	}
	server.Sender = n.daemons.sender
	server.Receive = n.receive
	server.Refuse = func(format string, args ...any) { n.strangers.to(n.Log.Info, format, args...) }
	n.messages.Store(server)
	n.spawn("notify", func() { server.Run(n.Log.Error) })
	return nil
}

// newDaemon makes what the two daemons have in common. It is work.
func (n *Node) newDaemon(name, group string) (*supervise.Daemon, error) {
	output, err := supervise.NewOutput(n.newLog(name))
	if err != nil {
		return nil, err
	}
	output.Report = n.said.add
	n.spawn("output of "+name, output.Drain)
	return &supervise.Daemon{
		Name: name, Output: output, Reaper: n.reaper, Log: n.Log,
		Cgroup: filepath.Join(cgroupRoot, group),
		// Only -1000 is lower, which the kernel never kills: then a daemon that
		// leaks memory would stop the whole machine.
		OOMScoreAdj: -999,
		Watchdog:    watchdogBound,
		Stuck:       func() { n.restartFor(name) },
	}, nil
}

// maxStarts is enough to fail with each set of files that a trial has.
const maxStarts = 10

// startDaemon starts a daemon, which is complete, and keeps it running. A program that
// cannot be executed may be so for what its files make of its arguments.
func (n *Node) startDaemon(d *supervise.Daemon) error {
	n.daemons.add(d)
	err := d.Start()
	for range maxStarts - 1 {
		if err == nil {
			break
		}
		n.Log.Warn("%v", err)
		err = d.Start()
	}
	if err != nil {
		return err
	}
	n.spawn(d.Name, d.Run)
	return nil
}

func stopDaemon(d *supervise.Daemon) error {
	if d == nil {
		return nil
	}
	return d.Stop(daemonBound)
}

// environment is that of a daemon. WATCHDOG_USEC asks it to report that it works, at
// half that time; see sd_watchdog_enabled(3).
func environment(path string, more ...string) []string {
	return append([]string{
		"PATH=" + path, "HOME=/root", "NOTIFY_SOCKET=" + notifySocket,
		fmt.Sprint("WATCHDOG_USEC=", watchdogTold.Microseconds()),
	}, more...)
}

// userEnvironment returns what the user's file adds to a daemon's environment, and names
// what is wrong with it. etc is where the daemon's files of the user's are.
func (n *Node) userEnvironment(etc, daemon string) []string {
	variables, err := daemonenv.Read(filepath.Join(etc, daemonenv.File), daemon)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			n.once.Error("%s", strings.TrimSpace(line))
		}
	}
	return variables
}

// restartFor restarts the machine, because one of its daemons hangs in the kernel: it
// cannot be started again, and without it this is no node any more.
func (n *Node) restartFor(daemon string) {
	n.faulty.set()
	n.requestShutdown(shutdownRequest{action: systembus.Reboot, cause: daemon + ", which hangs in the kernel,"})
}

var unitDescriptions = map[string]string{
	systembus.Kubelet:    "the Kubernetes node agent",
	systembus.Containerd: "the container runtime",
}

// unit returns the state of a daemon in systemd's words.
func (n *Node) unit(name string) systembus.Unit {
	u := systembus.Unit{Description: unitDescriptions[name], Active: "inactive", Sub: "dead"}
	d := n.daemons.unit(name)
	if d == nil {
		return u
	}
	u.PID, u.Restarts = d.Pid(), d.Restarts()
	ready, _ := n.daemons.readyPID(d.Name)
	switch {
	case u.PID == 0 && n.stopping.isSet():
	case u.PID == 0:
		u.Active, u.Sub = "activating", "auto-restart"
	case u.PID == ready:
		u.Active, u.Sub = "active", "running"
	default:
		u.Active, u.Sub = "activating", "start"
	}
	return u
}

// readyBound is how long a daemon may take to be ready. Under emulation the
// kubelet takes half a minute on a busy machine.
const readyBound = 2 * time.Minute

// restartUnit returns when the daemon is ready again.
func (n *Node) restartUnit(unit, cause string) error {
	d := n.daemons.unit(unit)
	if d == nil {
		return errors.New("it has not been started yet")
	}
	if n.stopping.isSet() {
		return errStopping // the kubelet has pods to stop
	}
	if t := n.trials.get(d.Name); t != nil {
		t.renew()
	}
	before := d.Pid()
	n.Log.Notice("%s starts again, as %s asks", d.Name, cause)
	d.Restart(daemonBound)
	return n.awaitReady(d, before)
}

// awaitReady waits until another process of the daemon than the one before
// reports that it is ready.
func (n *Node) awaitReady(d *supervise.Daemon, before int) error {
	late := time.After(readyBound)
	for {
		pid, changed := n.daemons.readyPID(d.Name)
		if pid != 0 && pid != before && pid == d.Pid() {
			return nil
		}
		select {
		case <-changed:
		case <-n.stopping.done():
			return errStopping
		case <-late:
			return fmt.Errorf("%s is not ready after %v", d.Name, readyBound)
		}
	}
}
