//go:build vm

package qemu

import (
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// TestStuckKernel boots a kernel that stops before init, for want of one, until
// nobody presses the reset button any more.
func TestStuckKernel(t *testing.T) {
	kernel, err := filepath.Abs("../../_out/amd64/vmlinuz")
	if err != nil {
		t.Fatal(err)
	}
	for _, noReboot := range []bool{false, true} {
		m, err := Start(t.Context(), Config{
			Kernel:   kernel,
			Append:   "console=ttyS0 panic=0",
			Dir:      t.TempDir(),
			NoReboot: noReboot,
			Accel:    TCG,
			Patience: 10 * time.Second,
			silence:  10 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Kill()
		for boot := range 1 + maxStuck {
			if _, err := m.Expect(t.Context(), regexp.MustCompile(`\] Kernel panic - not syncing`)); err != nil {
				t.Fatalf("with NoReboot %t, boot %d: %v", noReboot, boot, err)
			}
			m.Mark()
		}
		if _, err := m.Execute(t.Context(), "query-status", nil); err != nil {
			t.Errorf("with NoReboot %t: the machine after its last reset: %v", noReboot, err)
		}
	}
}
