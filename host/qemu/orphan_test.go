package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"kios/host/arch"
	"kios/test/lab"
)

// A QEMU whose starter was killed at once is found by the file that it writes itself,
// and another process of that number is not taken for it.
func TestAttachOrphan(t *testing.T) {
	dir := t.TempDir()
	start := func(args ...string) *exec.Cmd {
		cmd := exec.Command("sh", append([]string{"-c", "sleep 600; :", "qemu"}, args...)...)
		lab.Must(t, cmd.Start())
		go cmd.Wait()
		t.Cleanup(func() { cmd.Process.Kill() })
		lab.Must(t, os.WriteFile(pidFile(dir), fmt.Appendln(nil, cmd.Process.Pid), 0o600))
		return cmd
	}
	start("-pidfile", pidFile(t.TempDir()))
	if _, err := Attach(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Attach to another process = %v, want %v", err, ErrNotRunning)
	}
	start("-pidfile", pidFile(dir))
	d, err := Attach(dir)
	lab.Must(t, err)
	defer d.Close()
	lab.Must(t, d.Kill())
	if _, err := Attach(dir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Attach after its end = %v, want %v", err, ErrNotRunning)
	}
}

// Who attaches and lets go leaves nothing behind.
func TestCloseLeavesNothing(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	lab.Must(t, cmd.Start())
	go cmd.Wait()
	t.Cleanup(func() { cmd.Process.Kill() })
	p := process{PID: cmd.Process.Pid, Start: startTime(cmd.Process.Pid), Boot: bootID()}
	before := runtime.NumGoroutine()
	for range 100 {
		d, err := p.attach(t.TempDir())
		lab.Must(t, err)
		d.Close()
	}
	lab.Eventually(t, 20*time.Second, "the end of what waited", func() error {
		if now := runtime.NumGoroutine(); now > before+10 {
			return fmt.Errorf("%d goroutines, %d before", now, before)
		}
		return nil
	})
	entries, err := os.ReadDir("/proc/self/fd")
	lab.Must(t, err)
	if len(entries) > 60 {
		t.Errorf("%d descriptors are open", len(entries))
	}
}

func TestWhyEmulated(t *testing.T) {
	t.Setenv("KIOS_ACCEL", "tcg")
	if got := WhyEmulated(t.Context(), arch.Host(), ""); !strings.Contains(got, "KIOS_ACCEL") {
		t.Errorf("WhyEmulated = %q", got)
	}
}

// A verdict against KVM is not believed for ever: the host may have been busy.
func TestVerdictsAge(t *testing.T) {
	file := t.TempDir() + "/accel"
	lab.Must(t, keepVerdict(file, TCG, "the guest hangs"))
	if _, ok := kept(file); !ok {
		t.Error("a fresh verdict is not believed")
	}
	old := time.Now().Add(-2 * doubtful)
	lab.Must(t, os.Chtimes(file, old, old))
	if _, ok := kept(file); ok {
		t.Error("an old verdict against KVM is believed")
	}
	lab.Must(t, keepVerdict(file, KVM, "the guest runs"))
	lab.Must(t, os.Chtimes(file, old, old))
	if said, ok := kept(file); !ok || parseVerdict(said) != KVM {
		t.Error("an old verdict for KVM is not believed")
	}
}
