// Package reap is the only place of PID 1 that starts processes and waits for
// them. Every orphan of the system becomes a child of PID 1, so PID 1 must call
// wait4(-1). That races with os/exec, which waits for its own children: their status
// would be lost. Here a lock is held across the start of a process and its entry
// into the table, so that the status of a child that ends at once has a waiter.
//
// A program that uses this package must not use os/exec.
package reap

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Reaper collects the status of every child. Make it with New and let a
// goroutine call Run.
type Reaper struct {
	mu       sync.Mutex // held from before a fork until its entry is in children
	children map[int]*Process
	signals  chan os.Signal
	pings    chan struct{}
}

// Process is a child that was started by a Reaper.
type Process struct {
	Pid    int
	reaper *Reaper
	done   chan struct{}
	status syscall.WaitStatus // valid once done is closed
}

// New returns a Reaper that notices from now on when a child ends.
func New() *Reaper {
	r := &Reaper{children: map[int]*Process{}, signals: make(chan os.Signal, 1), pings: make(chan struct{})}
	signal.Notify(r.signals, syscall.SIGCHLD)
	return r
}

// Run collects children until Close is called. Orphans are collected without a
// trace.
func (r *Reaper) Run() {
	for {
		select {
		case _, open := <-r.signals:
			if !open {
				return
			}
		case <-r.pings:
		}
		r.collect()
	}
}

// Ping reports whether Run takes notice within the bound.
func (r *Reaper) Ping(bound time.Duration) bool {
	select {
	case r.pings <- struct{}{}:
		return true
	case <-time.After(bound):
		return false
	}
}

// Close ends Run.
func (r *Reaper) Close() {
	signal.Stop(r.signals)
	close(r.signals)
}

// collect reaps all that have ended: one SIGCHLD may stand for several.
func (r *Reaper) collect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if p, ok := r.children[pid]; ok {
			delete(r.children, pid)
			p.status = status
			close(p.done)
		}
	}
}

// Start runs the program argv[0], a path, with the given attributes.
func (r *Reaper) Start(argv []string, attr *syscall.ProcAttr) (*Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// ForkExec itself waits for a child whose exec failed; the lock keeps
	// collect from taking that one away.
	pid, err := syscall.ForkExec(argv[0], argv, attr)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	p := &Process{Pid: pid, reaper: r, done: make(chan struct{})}
	r.children[pid] = p
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status says how the process ended, once Done is closed.
func (p *Process) Status() syscall.WaitStatus { return p.status }

// Signal sends a signal, unless the process has ended. It never reaches a later
// process with the same number: no child is reaped while the lock is held, so the
// number stays in use.
func (p *Process) Signal(sig syscall.Signal) {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if _, ok := p.reaper.children[p.Pid]; ok {
		syscall.Kill(p.Pid, sig)
	}
}

// WaitAll waits until there are no children at all, started here or adopted,
// and reports whether that was so within the bound.
func (r *Reaper) WaitAll(bound time.Duration) bool {
	for deadline := time.Now().Add(bound); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if errors.Is(err, unix.ECHILD) {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// Describe says how a process ended: "exit code 1", "killed by SIGSEGV".
func Describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "killed by " + signalName(status.Signal())
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}

func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(sig))
}
