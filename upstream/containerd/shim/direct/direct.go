// Package direct does in the shim's own process what the shim would start runc
// for, where that is a few system calls: it starts and ends the sandboxes of pods,
// and lets the processes of created containers go. A pod with one container then
// costs one start of runc instead of four, and a running pod waits for each of
// those.
//
// go-runc hands its commands to this package to run them. A command that the
// package does not know to the letter, or cannot carry out, is left to runc.
package direct

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/go-runc"
	"github.com/containerd/log"

	"kios/internal/wholefile"
	"kios/upstream/containerd/shim/sandbox"
)

// Monitor runs commands for go-runc.
type Monitor struct {
	next runc.ProcessMonitor

	mu        sync.Mutex
	sandboxes map[string]*sandbox.Sandbox // by the ID of their container
	held      map[*exec.Cmd]chan struct{} // closed to let go of the thread that started it
}

// New returns a Monitor that leaves to next what it does not do itself.
func New(next runc.ProcessMonitor) *Monitor {
	return &Monitor{next: next, sandboxes: map[string]*sandbox.Sandbox{}, held: map[*exec.Cmd]chan struct{}{}}
}

// Start implements runc.ProcessMonitor.
func (m *Monitor) Start(c *exec.Cmd) (chan runc.Exit, error) {
	return m.start(c, m.next.Start)
}

// StartLocked implements runc.ProcessMonitor.
func (m *Monitor) StartLocked(c *exec.Cmd) (chan runc.Exit, error) {
	return m.start(c, m.startHeld)
}

// startHeld keeps the thread that starts runc until Wait. runc is killed when
// its parent thread ends (PR_SET_PDEATHSIG), and threads that have started a
// sandbox end. The reaper lets go of the thread at once, as none ends upstream.
func (m *Monitor) startHeld(c *exec.Cmd) (chan runc.Exit, error) {
	var exit chan runc.Exit
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var err error
		exit, err = m.next.StartLocked(c)
		started <- err
		if err == nil {
			<-ended
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.held[c] = ended
	m.mu.Unlock()
	return exit, nil
}

func (m *Monitor) letGo(c *exec.Cmd) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ended, ok := m.held[c]; ok {
		close(ended)
		delete(m.held, c)
	}
}

func (m *Monitor) start(c *exec.Cmd, run func(*exec.Cmd) (chan runc.Exit, error)) (chan runc.Exit, error) {
	done, err := m.do(c)
	if err != nil {
		return nil, err
	}
	if !done {
		return run(c)
	}
	exit := make(chan runc.Exit, 1)
	exit <- runc.Exit{Timestamp: time.Now()}
	return exit, nil
}

// Wait implements runc.ProcessMonitor.
func (m *Monitor) Wait(c *exec.Cmd, exit chan runc.Exit) (int, error) {
	if c.Process == nil { // done by us
		return (<-exit).Status, nil
	}
	defer m.letGo(c)
	return m.next.Wait(c, exit)
}

// do carries a command out. If it returns false without an error, the command
// is still to be run.
func (m *Monitor) do(c *exec.Cmd) (done bool, err error) {
	command, ok := parse(c.Args)
	if !ok {
		return false, nil
	}
	switch command.verb {
	case "create":
		return m.create(command)
	case "start":
		if m.sandbox(command.id) != nil {
			return true, nil // it runs since it was created
		}
		return release(filepath.Join(command.root, command.id), filepath.Dir(command.log))
	}
	if box := m.sandbox(command.id); box != nil {
		return m.doWith(box, command, c.Stdout)
	}
	return false, nil
}

// doWith is do for a command about a sandbox of ours.
func (m *Monitor) doWith(box *sandbox.Sandbox, command command, out io.Writer) (done bool, err error) {
	switch command.verb {
	case "kill":
		err := box.Signal(syscall.Signal(command.signal))
		if command.all && errors.Is(err, syscall.ESRCH) {
			err = nil // there is nothing left to kill
		}
		return true, err
	case "ps":
		pids, err := box.Processes()
		if err != nil {
			return false, err
		}
		return true, json.NewEncoder(out).Encode(pids)
	case "delete":
		return true, m.delete(command.id, box)
	}
	return false, nil
}

func (m *Monitor) delete(id string, box *sandbox.Sandbox) error {
	if err := box.Remove(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sandboxes, id)
	return nil
}

func (m *Monitor) sandbox(id string) *sandbox.Sandbox {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sandboxes[id]
}

func (m *Monitor) create(c command) (done bool, err error) {
	spec := sandbox.Read(c.bundle)
	if spec == nil {
		return false, nil
	}
	box, err := sandbox.Start(spec, c.bundle)
	if err != nil {
		log.L.WithError(err).Warn("sandbox is left to runc")
		return false, nil
	}
	if err := writePid(c.pidFile, box.Pid); err != nil {
		box.Signal(syscall.SIGKILL)
		box.Remove()
		return false, err
	}
	m.mu.Lock()
	m.sandboxes[c.id] = box
	m.mu.Unlock()
	return true, nil
}

// writePid writes a file that others see complete or not at all.
func writePid(path string, pid int) error {
	if err := wholefile.Volatile(path, []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("write the process number of the sandbox: %w", err)
	}
	return nil
}
