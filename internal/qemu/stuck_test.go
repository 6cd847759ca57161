package qemu

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBootWatch(t *testing.T) {
	const (
		firmware = "BdsDxe: starting Boot0001"
		begin    = "[    0.000000] Linux version 6.12.117-kios (kios@kios)"
		kernel   = "[    1.045777] mtrr: your CPUs had inconsistent fixed MTRR settings"
		oops     = "[    1.586812] Oops: int3: 0000 [#1] SMP NOPTI"
		init     = "[    2.030215] kios: step devices"
		program  = "=== RUN   TestMount"
	)
	for _, tt := range []struct {
		name  string
		lines []string
		want  int
	}{
		{"nothing", nil, 0},
		{"firmware waits", []string{firmware}, 0},
		{"silence", []string{firmware, begin, kernel, "[    1.88976]", "    2.036331] List of all bdev"}, 1},
		{"stale breakpoint", []string{begin, kernel, oops, kernel}, 1},
		{"stale breakpoint, and again", []string{begin, oops, begin, oops}, 2},
		{"stale breakpoint, then well", []string{begin, oops, begin, kernel, init}, 1},
		{"never", []string{begin, oops, begin, oops, begin, oops, begin, oops, begin}, 3},
		{"init", []string{begin, kernel, init}, 0},
		{"another init", []string{begin, kernel, program}, 0},
		{"a pod writes of a breakpoint", []string{begin, kernel, init, oops}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got atomic.Int32
				w := &BootWatch{Stuck: func() { got.Add(1) }}
				for _, line := range tt.lines {
					w.Line(line)
					time.Sleep(50 * time.Second)
				}
				time.Sleep(time.Hour)
				if got := int(got.Load()); got != tt.want {
					t.Errorf("after %q: stuck %d times, want %d", tt.lines, got, tt.want)
				}
			})
		})
	}
}
