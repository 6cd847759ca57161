//go:build vm

package qemu

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"kios/host/arch"
	"kios/test/lab"
)

// TestFirmware has the firmware of each architecture look for something to boot on an
// empty disk. Its flash takes no more of the host's disk than there is in it.
func TestFirmware(t *testing.T) {
	for _, a := range arch.All {
		t.Run(a.Name, func(t *testing.T) {
			if _, err := lookPath(a); err != nil {
				t.Skip(err)
			}
			dir := t.TempDir()
			var disks []Disk
			for _, bus := range []string{"virtio", "ahci"} {
				disk := filepath.Join(dir, bus)
				lab.Must(t, os.WriteFile(disk, make([]byte, 1<<20), 0o600))
				disks = append(disks, Disk{Path: disk, Bus: bus})
			}
			m, err := Start(t.Context(), Config{Arch: a, Accel: TCG, Disks: disks, Memory: 256 << 20, Dir: dir})
			lab.Must(t, err)
			t.Cleanup(m.Kill)
			ctx, cancel := context.WithTimeout(t.Context(), m.Scale(20*time.Second))
			defer cancel()
			_, err = m.Expect(ctx, regexp.MustCompile(`BdsDxe: (failed to load|No bootable option)`))
			lab.Must(t, err)
			t.Logf("after %s", m.Uptime().Round(time.Millisecond))
			info, err := os.Stat(filepath.Join(dir, "efivars.fd"))
			lab.Must(t, err)
			if stored := info.Sys().(*syscall.Stat_t).Blocks * 512; stored > 2<<20 {
				t.Errorf("the variables take %d KiB", stored>>10)
			}
		})
	}
}
