package reap

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// The test binary is its own child: a VM for tests has no shell.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2])
	}
	os.Exit(m.Run())
}

// child ends as told: with a code, by a signal, never, or after having left an
// orphan that ends with that code.
func child(what string) {
	switch code, err := strconv.Atoi(what); {
	case err == nil:
		os.Exit(code)
	case what == "sleep":
		time.Sleep(time.Hour)
	case what == "orphan":
		syscall.ForkExec("/proc/self/exe", []string{"child", "child", "7"}, &syscall.ProcAttr{})
		os.Exit(0)
	}
	os.Exit(99)
}

func start(t *testing.T, r *Reaper, what string) *Process {
	t.Helper()
	p, err := r.Start([]string{"/proc/self/exe", "child", what}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
	lab.Must(t, err)
	return p
}

func running(t *testing.T) *Reaper {
	t.Helper()
	r := New()
	go r.Run()
	t.Cleanup(r.Close)
	return r
}

// TestManyAtOnce is the race that the package is about: children that end
// before their start has returned, from several goroutines, among orphans.
func TestManyAtOnce(t *testing.T) {
	lab.Must(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	r := running(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 10 {
				start(t, r, "orphan")
				want := (g*10 + i) % 90
				p := start(t, r, fmt.Sprint(want))
				<-p.Done()
				if got := p.Status().ExitStatus(); got != want {
					t.Errorf("status of %d = %d, want %d", p.Pid, got, want)
				}
			}
		})
	}
	wg.Wait()
	if !r.WaitAll(10 * time.Second) {
		t.Error("children are left")
	}
}

func TestSignal(t *testing.T) {
	r := running(t)
	p := start(t, r, "sleep")
	if r.WaitAll(0) {
		t.Error("WaitAll = true while a child runs")
	}
	p.Signal(syscall.SIGKILL)
	<-p.Done()
	if got, want := Describe(p.Status()), "killed by SIGKILL"; got != want {
		t.Errorf("Describe = %q, want %q", got, want)
	}
	p.Signal(syscall.SIGKILL) // must do nothing
}

func TestStartFails(t *testing.T) {
	r := running(t)
	if _, err := r.Start([]string{"/nonexistent"}, &syscall.ProcAttr{}); err == nil {
		t.Error("Start of a missing program succeeded")
	}
	p := start(t, r, "3")
	<-p.Done()
	if got, want := Describe(p.Status()), "exit code 3"; got != want {
		t.Errorf("Describe = %q, want %q", got, want)
	}
}

// Ping tells a reaper that runs from one that hangs.
func TestPing(t *testing.T) {
	r := running(t)
	if !r.Ping(20 * time.Second) {
		t.Error("Ping = false of a reaper that runs")
	}
	r.mu.Lock() // as if a start did not return
	defer r.mu.Unlock()
	lab.Until(t, 20*time.Second, "no answer", func() bool { return !r.Ping(10 * time.Millisecond) })
}
