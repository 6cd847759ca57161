package build

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kios/host/arch"
	"kios/test/lab"
)

// buildPause compiles the program and returns its path.
func buildPause(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "pause")
	lab.Must(t, compilePause(t.Context(), arch.Host(), pauseSource, out))
	return out
}

func TestPauseErrorNamesTheSource(t *testing.T) {
	for _, a := range arch.All {
		err := compilePause(t.Context(), a, "no-such.c", filepath.Join(t.TempDir(), "pause"))
		for _, want := range []string{"compile no-such.c", "apt-get install " + a.ToolPackages()[0]} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("compilePause for %s = %v, want %q in it", a.Name, err, want)
			}
		}
	}
}

func TestPauseEndsOnSignal(t *testing.T) {
	pause := buildPause(t)
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := exec.Command(pause)
		lab.Must(t, cmd.Start())
		lab.Until(t, 5*time.Second, "pause waits", func() bool { return waits(cmd.Process.Pid) })
		lab.Must(t, cmd.Process.Signal(signal))
		if err := cmd.Wait(); err != nil {
			t.Errorf("after %v it ended with %v, want exit status 0", signal, err)
		}
	}
}

// The other tests show that the filter leaves what pause does itself.
func TestPauseGivesUpSystemCalls(t *testing.T) {
	cmd := exec.Command(buildPause(t))
	lab.Must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lab.Until(t, 5*time.Second, "pause waits", func() bool { return waits(cmd.Process.Pid) })
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	lab.Must(t, err)
	for _, want := range []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("its status lacks %q:\n%s", want, status)
		}
	}
}

// As PID 1 of a namespace it reaps what others orphan, those that were there
// before it included, and ends on SIGTERM although it is PID 1.
func TestPauseAsPID1(t *testing.T) {
	pause := buildPause(t)
	// The outer shell is PID 1 and becomes pause. Each inner shell leaves an
	// orphan, some of which die before, some after that.
	script := `for n in 0 0.1 0.3 0.3; do sh -c "sleep $n & exit"; done; exec ` + pause
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// With a user namespace this takes no root.
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	lab.Must(t, cmd.Start())
	pid := cmd.Process.Pid
	lab.Until(t, 5*time.Second, "pause waits", func() bool { return waits(pid) })
	lab.Until(t, 5*time.Second, "the orphans are pause's children", func() bool { return len(children(pid)) > 0 })
	lab.Until(t, 5*time.Second, "all orphans are reaped", func() bool { return len(children(pid)) == 0 })
	lab.Must(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM it ended with %v, want exit status 0", err)
	}
}

// children returns the processes whose parent is pid, zombies included.
func children(pid int) []string {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	return strings.Fields(string(content))
}

// waits reports whether the process is pause, and asleep: it sleeps nowhere but
// where it waits for signals.
func waits(pid int) bool {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return strings.Contains(string(content), "(pause) S")
}
