package direct

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// recorder notes the commands that are left to it, and runs none.
type recorder struct{ lines [][]string }

func (r *recorder) Start(c *exec.Cmd) (chan runc.Exit, error) {
	r.lines = append(r.lines, c.Args)
	c.Process = &os.Process{Pid: 1}
	exit := make(chan runc.Exit, 1)
	exit <- runc.Exit{Status: 7}
	return exit, nil
}

func (r *recorder) StartLocked(c *exec.Cmd) (chan runc.Exit, error)    { return r.Start(c) }
func (r *recorder) Wait(_ *exec.Cmd, exit chan runc.Exit) (int, error) { return (<-exit).Status, nil }

// do runs a command of runc in the way of go-runc.
func do(t *testing.T, m *Monitor, args ...string) int {
	t.Helper()
	cmd := exec.Command("/bin/runc", args...)
	cmd.Stdout = new(bytes.Buffer)
	exit, err := m.StartLocked(cmd)
	if err != nil {
		t.Fatal(err)
	}
	status, err := m.Wait(cmd, exit)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func TestRuncRunsWhatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	config := `{"process":{"args":["/app"]},"root":{"path":"rootfs"},"annotations":{"io.kubernetes.cri.container-type":"container"}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	global := []string{"--root", dir, "--log", filepath.Join(dir, "log.json")}
	for _, args := range [][]string{
		{"create", "--bundle", dir, "--pid-file", filepath.Join(dir, "init.pid"), "app"},
		{"start", "app"}, // has no FIFO
		{"kill", "app", "9"},
		{"delete", "app"},
		{"ps", "--format", "json", "app"},
		{"pause", "app"},
	} {
		r := new(recorder)
		line := slices.Concat(global, args)
		if status := do(t, New(r), line...); status != 7 || len(r.lines) != 1 || !slices.Equal(r.lines[0][1:], line) {
			t.Errorf("%v: status %d, runc was given %q, want 7 and the same once", args, status, r.lines)
		}
	}
}

// parent starts commands as containerd's reaper does: it does not hold the
// thread.
type parent struct{ recorder }

func (p *parent) StartLocked(c *exec.Cmd) (chan runc.Exit, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return nil, c.Start()
}

func TestRuncOutlivesThreads(t *testing.T) {
	m := New(new(parent))
	var children []*exec.Cmd
	for range 20 {
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if _, err := m.StartLocked(cmd); err != nil {
			t.Fatal(err)
		}
		children = append(children, cmd)
		endThread(t)
	}
	for _, cmd := range children {
		if pid, err := syscall.Wait4(cmd.Process.Pid, nil, syscall.WNOHANG, nil); pid != 0 {
			t.Errorf("a command has ended with a thread of ours (%v)", err)
		}
		cmd.Process.Kill()
		cmd.Wait()
		m.letGo(cmd)
	}
}

// endThread runs a goroutine that takes its thread along, as the start of a
// sandbox does.
func endThread(t *testing.T) {
	t.Helper()
	thread := make(chan int)
	go func() { runtime.LockOSThread(); thread <- unix.Gettid() }()
	tid := <-thread
	if tid == os.Getpid() {
		return // the first thread does not end
	}
	for {
		if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(tid)); err != nil {
			return
		}
		runtime.Gosched()
	}
}

// created makes what a created container leaves: a bundle with the number of a
// process, and a FIFO that the process waits for somebody to read.
func created(t *testing.T, program ...string) (state, bundle string, process *exec.Cmd) {
	t.Helper()
	root := t.TempDir()
	state, bundle = filepath.Join(root, "app"), filepath.Join(root, "bundle")
	for _, dir := range []string{state, bundle} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	fifo := filepath.Join(state, "exec.fifo")
	if err := unix.Mkfifo(fifo, 0o622); err != nil {
		t.Fatal(err)
	}
	process = exec.Command(program[0], program[1:]...)
	process.Dir = state
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "init.pid"), []byte(strconv.Itoa(process.Process.Pid)), 0o600); err != nil {
		t.Fatal(err)
	}
	return state, bundle, process
}

func TestStartLetsACreatedContainerGo(t *testing.T) {
	state, bundle, process := created(t, "sh", "-c", "printf 0 >exec.fifo && exit 42")
	r := new(recorder)
	status := do(t, New(r), "--root", filepath.Dir(state), "--log", filepath.Join(bundle, "log.json"), "start", "app")
	if status != 0 || len(r.lines) != 0 {
		t.Errorf("start = %d, left to runc: %q, want 0 and nothing", status, r.lines)
	}
	process.Wait()
	if code := process.ProcessState.ExitCode(); code != 42 {
		t.Errorf("the container's process ended with %d, want 42", code)
	}
	if _, err := os.Stat(filepath.Join(state, "exec.fifo")); !os.IsNotExist(err) {
		t.Errorf("the FIFO: %v, want it to be removed: runc would take the container for one that waits", err)
	}
}

// The process is a zombie: nobody has waited for it yet, as in a shim that is
// busy.
func TestStartLeavesADeadContainerToRunc(t *testing.T) {
	state, bundle, process := created(t, "true")
	defer process.Wait()
	done := make(chan bool)
	go func() {
		ok, err := release(state, bundle)
		if err != nil {
			t.Error(err)
		}
		done <- ok
	}()
	select {
	case ok := <-done:
		if ok {
			t.Error("release = true for a process that has ended")
		}
	case <-time.After(releaseBound / 2):
		t.Error("release waits for a process that has ended")
	}
}
