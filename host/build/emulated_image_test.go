//go:build image

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

	"golang.org/x/sys/unix"

	"kios/host/progress"
	"kios/test/lab"
)

// pause of another architecture ends on SIGTERM, too. QEMU has no seccomp for the programs
// that it runs. All else is as on the processor.
func TestPauseOfAnotherArchitecture(t *testing.T) {
	a := lab.Arch(t)
	if !a.Foreign() {
		t.Skip("pause of this machine's architecture is tested without QEMU")
	}
	b, err := New(lab.Root(t), a, progress.New(os.Stderr))
	lab.Must(t, err)
	qemu, err := b.UserEmulator(t.Context())
	lab.Must(t, err)
	pause := filepath.Join(t.TempDir(), "pause")
	lab.Must(t, compilePause(t.Context(), a, pauseSource, pause))
	cmd := exec.Command(qemu, pause)
	lab.Must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	lab.Until(t, 10*time.Second, "pause waits", func() bool { return waitsForSignals(cmd.Process.Pid) })
	lab.Must(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM it ended with %v, want exit status 0", err)
	}
}

// waitsForSignals reports whether the QEMU that runs pause is in rt_sigtimedwait(2).
func waitsForSignals(pid int) bool {
	call, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	return strings.HasPrefix(string(call), fmt.Sprintf("%d ", unix.SYS_RT_SIGTIMEDWAIT))
}
