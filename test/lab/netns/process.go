// Package netlab runs programs in network namespaces, for the tests that try
// ours against real servers. It takes root and Debian's iproute2.
package netlab

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kios/test/safebuf"
)

// Run runs a program to its end and returns what it printed. The test fails if
// the program does.
func Run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Process is a program that runs in a namespace until the test ends. Its String
// is what the program has printed so far.
type Process struct {
	safebuf.Buffer
	cmd  *exec.Cmd
	done <-chan struct{}
	once sync.Once
}

// Start starts a program in the namespace, with env added to the environment.
// What it printed is logged if the test fails.
func Start(t *testing.T, namespace string, env []string, argv ...string) *Process {
	t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", namespace}, argv...)...)
	cmd.Env = append(os.Environ(), env...)
	return StartCommand(t, cmd)
}

// StartCommand is Start for a command that enters a namespace by itself.
func StartCommand(t *testing.T, cmd *exec.Cmd) *Process {
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

// Stop ends the program with SIGTERM and waits for that. Only the first call
// has an effect.
func (p *Process) Stop() {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		<-p.done
	})
}
