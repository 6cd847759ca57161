package ptp

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// clocks makes a sysfs with PTP clocks of these names.
func clocks(t *testing.T, names ...string) string {
	t.Helper()
	sysfs := t.TempDir()
	for i, name := range names {
		dir := filepath.Join(sysfs, "class/ptp", "ptp"+string(rune('0'+i)))
		lab.WriteFile(t, filepath.Join(dir, "clock_name"), name+"\n")
	}
	return sysfs
}

func TestFind(t *testing.T) {
	for _, tt := range []struct {
		names        []string
		device, name string
	}{
		{nil, "", ""},
		{[]string{"mlx5_ptp", "igb"}, "", ""},
		{[]string{"KVM virtual PTP"}, "/dev/ptp0", "KVM virtual PTP"},
		{[]string{"mlx5_ptp", "hyperv"}, "/dev/ptp1", "hyperv"},
		{[]string{"", "ixgbe", "ena-ptp-05"}, "/dev/ptp2", "ena-ptp-05"},
		{[]string{"vmclock0"}, "/dev/ptp0", "vmclock0"},
	} {
		device, name, err := Find(clocks(t, tt.names...))
		if err != nil || device != tt.device || name != tt.name {
			t.Errorf("Find among %q = %q, %q, %v, want %q, %q", tt.names, device, name, err, tt.device, tt.name)
		}
	}
}

// reading is one of the kernel's, in nanoseconds.
func reading(before, clock, after int64) [3]unix.PtpClockTime {
	t := func(ns int64) unix.PtpClockTime {
		return unix.PtpClockTime{Sec: 1700000000 + ns/1e9, Nsec: uint32(ns % 1e9)}
	}
	return [3]unix.PtpClockTime{t(before), t(clock), t(after)}
}

func TestBest(t *testing.T) {
	ahead, at := best([][3]unix.PtpClockTime{
		reading(1000, 900_001_000, 9000),  // slow
		reading(20_000, 5_020_100, 20200), // the quick one: 5 ms ahead
		reading(30_000, 700_000_000, 30_900),
	})
	if ahead != 5*time.Millisecond || at.UnixNano() != 1700000000*1e9+20100 {
		t.Errorf("best = %v at %d, want 5ms", ahead, at.UnixNano())
	}
	if ahead, _ := best([][3]unix.PtpClockTime{reading(2_000_000_000, 1_000_000_050, 2_000_000_100)}); ahead != -time.Second {
		t.Errorf("best of a clock that is behind = %v, want -1s", ahead)
	}
}

// An open file goes through the socket; here a plain one stands for the clock,
// because hardly a machine that runs tests has one.
func TestGiveAndOpen(t *testing.T) {
	dir := t.TempDir()
	device, socket := filepath.Join(dir, "ptp0"), filepath.Join(dir, "clock", "socket")
	lab.Must(t, os.WriteFile(device, []byte("the clock"), 0o600))
	s, err := Listen(socket, device, "KVM virtual PTP")
	lab.Must(t, err)
	var said []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(func(format string, _ ...any) { said = append(said, format) })
	}()
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v, want mode 0600", info, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := Open(ctx, socket)
	lab.Must(t, err)
	defer c.Close()
	content, err := io.ReadAll(c.file)
	if err != nil || string(content) != "the clock" || c.Name != "KVM virtual PTP" {
		t.Errorf("got %q called %q, %v", content, c.Name, err)
	}
	if _, err := c.file.Write([]byte("x")); err == nil {
		t.Error("the file can be written")
	}
	if _, _, err := c.Offset(); err == nil || !strings.Contains(err.Error(), `"KVM virtual PTP"`) {
		t.Errorf("Offset of what is no clock = %v, want an error that names it", err)
	}

	lab.Must(t, os.Remove(device))
	if _, err := Open(ctx, socket); err == nil {
		t.Error("Open of a clock that is gone succeeds")
	}
	s.Close()
	<-done
	if len(said) != 1 {
		t.Errorf("the server said %q, want one complaint", said)
	}
	if c, err := Open(ctx, socket); c != nil || err != nil {
		t.Errorf("Open with no server = %v, %v, want nothing", c, err)
	}
}
