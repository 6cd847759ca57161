package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/init/reap"
	"kios/init/supervise"
	"kios/init/systembus"
	"kios/internal/sysctl"
	"kios/test/lab"
)

// Settings with which the node does not come up are left out in the end, until they
// change.
func TestSysctlTrial(t *testing.T) {
	trial := &sysctlTrial{path: filepath.Join(t.TempDir(), "trial")}
	first, second := []sysctl.Line{{Key: "a", Value: "1"}}, []sysctl.Line{{Key: "a", Value: "2"}}
	begin := func(lines []sysctl.Line, want bool) {
		t.Helper()
		if may, err := trial.begin(lines); may != want || err != nil {
			t.Errorf("begin(%v) = %v, %v, want %v", lines, may, err, want)
		}
	}
	for range sysctlTrials {
		begin(first, true)
	}
	begin(first, false)
	begin(first, false)
	begin(second, true)
	begin(second, true)
	trial.passed()
	for range sysctlTrials {
		begin(second, true)
	}
	begin(second, false)
	begin(nil, true)
	lab.WriteFile(t, trial.path, "damaged\x00")
	begin(second, true)
	if may, err := (&sysctlTrial{path: filepath.Join(trial.path, "x")}).begin(first); !may || err == nil {
		t.Errorf("begin = %v, %v where nothing can be kept", may, err)
	}
}

// waiting is the variable that makes the test binary a daemon that does nothing.
const waiting = "KIOS_TEST_WAITING"

func init() {
	if os.Getenv(waiting) != "" {
		time.Sleep(time.Hour)
	}
}

// withKubelet starts a daemon in place of the kubelet.
func withKubelet(t *testing.T, n *Node) *supervise.Daemon {
	t.Helper()
	out, err := supervise.NewOutput(&lab.Buffer{})
	lab.Must(t, err)
	r := reap.New()
	go r.Run()
	d := &supervise.Daemon{
		Name: kubeletName, Output: out, Reaper: r, Log: n.Log,
		Prepare: func() (argv, env []string) {
			return []string{"/proc/self/exe"}, append(os.Environ(), waiting+"=1")
		},
	}
	lab.Must(t, n.startDaemon(d))
	t.Cleanup(func() { d.Stop(time.Second); out.Close(); r.Close() })
	return d
}

func TestCameUp(t *testing.T) {
	n, _ := node(t)
	withKubelet(t, n)
	up := make(chan bool, 1)
	go func() { up <- n.cameUp(short) }()
	select {
	case got := <-up:
		t.Fatalf("cameUp = %v before the kubelet is ready", got)
	case <-time.After(10 * short):
	}
	n.daemons.setReady(kubeletName)
	if !<-up {
		t.Error("cameUp = false of a node that is up")
	}
	go func() { up <- n.cameUp(time.Hour) }()
	n.stopping.set()
	if <-up {
		t.Error("cameUp = true of a node that stopped before that was known")
	}
}

func TestDidNotComeUp(t *testing.T) {
	n, _ := node(t)
	n.stopping.set()
	if n.cameUp(0) {
		t.Error("cameUp = true of a node without a kubelet")
	}
}

// stoppedNode has nodes begin with the same settings and stop, and returns how many did.
func stoppedNode(t *testing.T, stop func(*Node)) (tried int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trial")
	lines := []sysctl.Line{{Key: "a", Value: "1"}}
	for range 10 {
		trial := &sysctlTrial{path: path}
		may, err := trial.begin(lines)
		lab.Must(t, err)
		if !may {
			break
		}
		tried++
		n, _ := node(t)
		n.sysctlTrial.Store(trial)
		n.plan.steps = nil
		n.history.add(stepOf(t, "sysctls"))
		stop(n)
		n.watchSysctls(trial)
	}
	return tried
}

// stepOf returns a step of the real boot.
func stepOf(t *testing.T, name string) *Step {
	t.Helper()
	steps := bootPlan().steps
	i := slices.IndexFunc(steps, func(s *Step) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("there is no step %s", name)
	}
	return steps[i]
}

// setReadyOnce has the node know that a kubelet was ready.
func setReadyOnce(n *Node) {
	n.daemons.mu.Lock()
	defer n.daemons.mu.Unlock()
	n.daemons.ready[kubeletName] = os.Getpid()
}

// A node that is told to stop before it is proven has neither come up nor failed. One
// that fails, or stops because it does not work, has failed.
func TestSysctlTrialStops(t *testing.T) {
	order := shutdownRequest{action: systembus.Reboot, cause: "somebody"}
	for _, tt := range []struct {
		name  string
		stop  func(*Node)
		tried int
	}{
		{"in order, at once", func(n *Node) { n.shutdown(order) }, 10},
		{"in order, while it is ready", func(n *Node) { setReadyOnce(n); n.shutdown(order) }, 10},
		{"in order, when it did not come up", func(n *Node) {
			n.sysctlTrial.Load().began = time.Now().Add(-comeUpBound)
			n.shutdown(order)
		}, sysctlTrials},
		{"a daemon hangs", func(n *Node) { n.restartFor(kubeletName); n.shutdown(<-n.inbox.shutdowns) }, sysctlTrials},
		{"it fails while it is ready", func(n *Node) { setReadyOnce(n); n.stopping.set() }, sysctlTrials},
	} {
		if got := stoppedNode(t, tt.stop); got != tt.tried {
			t.Errorf("%s: the settings are tried %d times, want %d", tt.name, got, tt.tried)
		}
	}
}

func TestLogAll(t *testing.T) {
	n, log := node(t)
	var errs []error
	for i := range 1000 {
		errs = append(errs, fmt.Errorf("error %d", i))
	}
	n.logAll(errs)
	if lines := strings.Count(log.String(), "\n"); lines != 21 || !strings.HasSuffix(log.String(), "and 980 more\n") {
		t.Errorf("%d lines of 1000 errors:\n%s", lines, log)
	}
}
