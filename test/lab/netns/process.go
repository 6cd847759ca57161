package netns

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kios/test/lab"
)

// stopBound is how long a program may take to end when it is told to.
const stopBound = 30 * time.Second

// Process is a program that runs in a namespace until the test ends. Its String
// is what the program has printed so far.
type Process struct {
	lab.Buffer
	cmd  *exec.Cmd
	done <-chan struct{}
	once sync.Once
}

// Start starts a program in the namespace, with env added to the environment.
// What it printed is logged if the test fails.
func Start(t testing.TB, namespace string, env []string, argv ...string) *Process {
	t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", namespace}, argv...)...)
	cmd.Env = append(os.Environ(), env...)
	return StartCommand(t, cmd)
}

// StartCommand is Start for a command that enters a namespace by itself.
func StartCommand(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{cmd: cmd}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	var err error
	if p.done, err = StartBound(p.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("output of %s:\n%s", strings.Join(cmd.Args, " "), p)
		}
	})
	return p
}

// Stop ends the program. Only the first call has an effect.
func (p *Process) Stop() { p.once.Do(func() { Stop(p.cmd, p.done) }) }

// Stop ends a command that StartBound has started: with SIGKILL if SIGTERM does
// not.
func Stop(cmd *exec.Cmd, done <-chan struct{}) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(stopBound):
		_ = cmd.Process.Kill()
		<-done
	}
}
