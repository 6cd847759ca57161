//go:build vm

package vm

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/host/qemu"
	"kios/test/lab"
)

// panics is a machine whose kernel finds no root and panics: the smallest
// guest there is. With panic=0 it stays up, with panic=-1 it resets.
func panics(t *testing.T, onPanic string) *qemu.Machine {
	t.Helper()
	a := lab.Arch(t)
	m, err := qemu.Start(t.Context(), qemu.Config{
		Arch:     a,
		Kernel:   lab.Kernel(t),
		Append:   "console=" + a.QEMU.Console + " " + onPanic,
		Memory:   256 << 20,
		NoReboot: true,
		Dir:      t.TempDir(),
		Forward:  []qemu.Port{{Guest: 80}},
	})
	lab.Must(t, err)
	t.Cleanup(m.Kill)
	return m
}

func TestExpect(t *testing.T) {
	m := panics(t, "panic=-1")
	match, err := m.Expect(t.Context(), regexp.MustCompile(`Kernel panic - (.*): VFS`))
	lab.Must(t, err)
	if match[1] != "not syncing" {
		t.Errorf("match = %q", match)
	}
	_, err = m.Expect(t.Context(), regexp.MustCompile("no such line"))
	if err == nil || !strings.Contains(err.Error(), "the machine ended: rebooted") || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("Expect after the end = %v, want the end and the console's tail", err)
	}
	if end, err := m.Wait(t.Context()); end != qemu.Rebooted || err != nil {
		t.Errorf("Wait = %q, %v, want %q", end, err, qemu.Rebooted)
	}
}

func TestKill(t *testing.T) {
	m := panics(t, "panic=0")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := m.Expect(ctx, regexp.MustCompile("no such line")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Expect = %v, want %v", err, context.DeadlineExceeded)
	}
	if status, err := m.Execute(t.Context(), "query-status", nil); err != nil || !strings.Contains(string(status), "running") {
		t.Errorf("query-status = %s, %v", status, err)
	}
	m.Kill()
	m.Kill()
	if end, _ := m.Wait(t.Context()); end != qemu.Killed {
		t.Errorf("Wait = %q, want %q", end, qemu.Killed)
	}
}

func TestQuitAndReset(t *testing.T) {
	for _, tt := range []struct {
		name string
		act  func(*qemu.Machine, context.Context) error
		want qemu.End
	}{
		{"quit", (*qemu.Machine).Quit, qemu.Killed},
		{"reset", (*qemu.Machine).Reset, qemu.Rebooted}, // NoReboot is set
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := panics(t, "panic=0")
			lab.Must(t, tt.act(m, t.Context()))
			if end, err := m.Wait(t.Context()); end != tt.want {
				t.Errorf("Wait = %q, %v, want %q", end, err, tt.want)
			}
		})
	}
}

func TestStartFails(t *testing.T) {
	_, err := qemu.Start(t.Context(), qemu.Config{
		Arch: lab.Arch(t), Kernel: lab.Kernel(t), Accel: qemu.TCG, Dir: t.TempDir(), Args: []string{"-device", "no-such"},
	})
	if err == nil || !strings.Contains(err.Error(), "'no-such' is not a valid device model name") {
		t.Errorf("Start with a device that nobody has = %v, want QEMU's words", err)
	}
	var noChild unix.WaitStatus
	if pid, err := unix.Wait4(-1, &noChild, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("after a failed start the process %d is left (%v)", pid, err)
	}
}
