// Package supervise keeps a daemon alive: it starts it in its cgroup, drains
// its output, and starts it again when it ends, at growing intervals.
//
//	          Start                      ends
//	(idle) ----------> running -----------------------> waiting
//	                      ^                                |
//	                      +--------------------------------+
//	                         after the back-off, or never again once
//	                         Stop was called
package supervise

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"kios/init/reap"

	"golang.org/x/sys/unix"
)

// The back-off. The first restart comes almost at once, because most single
// failures are a lost race. The interval doubles up to ten seconds, which a
// machine can bear for ever and a person can wait for. A daemon that was up
// for a minute has started properly, so its next failure counts as the first.
const (
	firstDelay = 100 * time.Millisecond
	maxDelay   = 10 * time.Second
	resetAfter = time.Minute
)

// delay returns how long to wait after the given number of failures in a row.
func delay(failures int) time.Duration {
	if failures > 8 { // beyond this the shift is past maxDelay anyway
		return maxDelay
	}
	return min(firstDelay<<max(failures-1, 0), maxDelay)
}

// Logger is where a Daemon reports.
type Logger interface {
	Error(format string, args ...any)
	Notice(format string, args ...any)
	Info(format string, args ...any)
}

// Daemon is a program that has to run all the time. The exported fields must
// be set before Start.
type Daemon struct {
	Name string
	// Prepare is called before each start and returns the arguments, the
	// first of which is the program's path, and the environment.
	Prepare func() (argv, env []string)
	// Ended, if set, is called after an end that nobody asked for, and after a start
	// that failed, before the next start.
	Ended func(End)
	// Files become file descriptors 3 and up.
	Files []*os.File
	// Cgroup is the directory of the cgroup to start in, "" for that of PID 1.
	Cgroup string
	// OOMScoreAdj is its oom_score_adj; see proc(5).
	OOMScoreAdj int
	// Watchdog is how long a process may be silent that has reported once that it
	// works (Alive); 0 if it may for ever.
	Watchdog time.Duration
	// Stuck is called when a process hangs so that nothing ends it. It may be nil.
	Stuck  func()
	Output *Output
	Reaper *reap.Reaper
	Log    Logger

	mu       sync.Mutex
	hung     atomic.Bool // the process is being ended for it
	process  *reap.Process
	started  time.Time
	restarts int
	restart  bool // requested, since Prepare was called last

	alive    chan struct{} // has room for one
	stopping chan struct{}
	stopped  chan struct{} // closed when Run returns
}

// Start starts the daemon for the first time. It may be called again if it fails.
// After it has succeeded a goroutine must call Run.
func (d *Daemon) Start() error {
	d.mu.Lock()
	d.stopped, d.alive = make(chan struct{}), make(chan struct{}, 1)
	if d.stopping == nil {
		d.stopping = make(chan struct{})
	}
	d.mu.Unlock()
	return d.tryStart()
}

// Run starts the daemon again whenever it ends, until Stop is called.
func (d *Daemon) Run() {
	defer close(d.stopped)
	for failures := 0; ; {
		failures = d.wait(failures)
		if !d.pause(delay(failures)) {
			return
		}
		d.mu.Lock()
		d.restarts++
		d.mu.Unlock()
		if err := d.tryStart(); err != nil {
			d.Log.Error("%v", err)
		}
	}
}

// wait waits for the end of the process, if there is one, and reports it. It returns
// how many times in a row the daemon has failed now.
func (d *Daemon) wait(failures int) int {
	p := d.current()
	if p == nil {
		return failures + 1
	}
	d.awaitEnd(p)
	up := time.Since(d.started)
	d.mu.Lock()
	d.process = nil
	requested := d.restart
	d.mu.Unlock()
	if requested {
		return 0
	}
	if up >= resetAfter {
		failures = 0
	}
	if !d.isStopping() {
		d.report(p, up, delay(failures+1))
	}
	return failures + 1
}

func (d *Daemon) report(p *reap.Process, up, next time.Duration) {
	cause := fmt.Sprintf("%s (pid %d) ended after %v: %s", d.Name, p.Pid, up.Round(time.Millisecond), reap.Describe(p.Status()))
	lines := d.Output.Last(cause)
	for _, line := range lines {
		d.Log.Error("%s| %s", d.Name, line)
	}
	d.Log.Error("%s; restart %d in %v", cause, d.Restarts()+1, next)
	if d.Ended != nil {
		d.Ended(End{Status: p.Status(), Hung: d.hung.Load(), Lines: lines})
	}
}

// pause waits and reports whether to go on.
func (d *Daemon) pause(delay time.Duration) bool {
	select {
	case <-d.stopping:
		return false
	case <-time.After(delay):
		return true
	}
}

func (d *Daemon) isStopping() bool {
	select {
	case <-d.stopping:
		return true
	default:
		return false
	}
}

func (d *Daemon) tryStart() error {
	err := d.start()
	if err != nil && d.Ended != nil {
		d.Ended(End{Failed: err})
	}
	return err
}

func (d *Daemon) start() error {
	d.mu.Lock()
	d.restart = false
	d.mu.Unlock()
	d.hung.Store(false)
	argv, env := d.Prepare()
	attr := d.attributes(env)
	if dir := d.openCgroup(); dir != nil {
		defer dir.Close()
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isStopping() { // Stop may have found nothing to signal just now
		return nil
	}
	d.forgetReports()
	p, err := d.Reaper.Start(argv, attr)
	if attr.Sys.UseCgroupFD && isOfCgroup(err) {
		p, err = d.startOutside(argv, attr, err)
	}
	if err != nil {
		return err
	}
	d.process, d.started = p, time.Now()
	d.setOOMScore(p.Pid)
	if d.restart { // while Prepare ran, which may have read what was true before
		p.Signal(unix.SIGTERM)
	}
	return nil
}

// startOutside starts the process outside of its cgroup, because the kernel does not take
// it in (EBUSY, for one, when somebody has given that cgroup children with controllers):
// a daemon whose memory is not accounted for is better than none.
func (d *Daemon) startOutside(argv []string, attr *syscall.ProcAttr, cause error) (*reap.Process, error) {
	attr.Sys.UseCgroupFD = false
	p, err := d.Reaper.Start(argv, attr)
	if err == nil {
		d.Log.Error("start %s outside of its cgroup: %v", d.Name, cause)
	}
	return p, err
}

// isOfCgroup reports whether a start may have failed for the cgroup (clone(2) and the
// kernel's cgroup_can_fork): it is none, it has children with controllers, it is being
// removed, it has the wrong type, or its pids.max is reached. Other errors are those of
// the program and its arguments.
func isOfCgroup(err error) bool {
	for _, e := range []error{unix.EBADF, unix.EBUSY, unix.ENODEV, unix.EOPNOTSUPP, unix.EAGAIN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// openCgroup returns the cgroup to start in, or nil for that of PID 1. A process that
// is born in its cgroup costs nothing; to move it there later costs the grace
// period of a lock, and what it did before is not accounted for.
func (d *Daemon) openCgroup() *os.File {
	if d.Cgroup == "" {
		return nil
	}
	dir, err := os.Open(d.Cgroup)
	if err != nil {
		d.Log.Error("start %s outside of its cgroup: %v", d.Name, err)
		return nil
	}
	return dir
}

func (d *Daemon) attributes(env []string) *syscall.ProcAttr {
	out := d.Output.write.Fd()
	files := []uintptr{d.Output.null.Fd(), out, out}
	for _, f := range d.Files {
		files = append(files, f.Fd())
	}
	return &syscall.ProcAttr{Dir: "/", Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
}

func (d *Daemon) setOOMScore(pid int) {
	if d.OOMScoreAdj == 0 {
		return
	}
	path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
	if err := os.WriteFile(path, fmt.Append(nil, d.OOMScoreAdj), 0); err != nil {
		d.Log.Info("protect %s from the OOM killer: %v", d.Name, err)
	}
}

func (d *Daemon) current() *reap.Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.process
}

// Pid returns the number of the running process, or 0.
func (d *Daemon) Pid() int {
	if p := d.current(); p != nil {
		return p.Pid
	}
	return 0
}

// Restarts returns how often the daemon was started again.
func (d *Daemon) Restarts() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.restarts
}

// killBound is how long a process may take to end after SIGKILL. A process that
// takes longer hangs in the kernel, and nothing ends it.
const killBound = 5 * time.Second

// Stop ends the daemon for good: with SIGTERM, and with SIGKILL if that took
// longer than the bound, which makes an error. Calling it again has no effect.
func (d *Daemon) Stop(bound time.Duration) error {
	d.mu.Lock()
	started := d.stopped != nil
	d.mu.Unlock()
	if !started {
		return nil
	}
	d.Last()
	d.signal(unix.SIGTERM)
	if d.stoppedWithin(bound) {
		return nil
	}
	d.signal(unix.SIGKILL)
	if !d.stoppedWithin(killBound) {
		return fmt.Errorf("%s did not end within %v of SIGKILL: it hangs in the kernel", d.Name, killBound)
	}
	return fmt.Errorf("%s did not end within %v of SIGTERM and was killed", d.Name, bound)
}

// Last makes the process that runs now the last one: when it ends, no other is
// started. Before Start, there will be none.
func (d *Daemon) Last() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopping == nil {
		d.stopping = make(chan struct{})
	}
	if !d.isStopping() {
		close(d.stopping)
	}
}

// Restart ends the process, with SIGKILL if it takes longer than the bound; Run
// starts it again. That is not a failure and is not reported. The last process is
// left alone.
func (d *Daemon) Restart(bound time.Duration) {
	d.mu.Lock()
	if d.isStopping() {
		d.mu.Unlock()
		return
	}
	p := d.process
	d.restart = true
	d.mu.Unlock()
	if p == nil {
		return // it is about to be started anyway: see start
	}
	p.Signal(unix.SIGTERM)
	select {
	case <-p.Done():
	case <-time.After(bound):
		p.Signal(unix.SIGKILL)
	}
}

func (d *Daemon) stoppedWithin(bound time.Duration) bool {
	select {
	case <-d.stopped: // also when the bound is zero
		return true
	default:
	}
	select {
	case <-d.stopped:
		return true
	case <-time.After(bound):
		return false
	}
}

func (d *Daemon) signal(sig syscall.Signal) {
	if p := d.current(); p != nil {
		p.Signal(sig)
	}
}
