//go:build guest

package boot

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// TestClockSteps sets the clock of the machine that it runs on.
func TestClockSteps(t *testing.T) {
	start := time.Now()
	set := func(by time.Duration) {
		t.Helper()
		now := start.Add(by).Add(time.Since(start)) // Since goes by the monotonic clock
		ts := unix.NsecToTimespec(now.UnixNano())
		lab.Must(t, unix.ClockSettime(unix.CLOCK_REALTIME, &ts))
	}
	defer set(0)
	steps, err := newClockSteps()
	lab.Must(t, err)
	got := make(chan time.Duration)
	go func() {
		for {
			step, err := steps.next(5 * time.Minute)
			if err != nil {
				t.Error(err)
				close(got)
				return
			}
			got <- step
		}
	}()
	for _, tt := range []struct{ to, want time.Duration }{
		{to: time.Hour, want: time.Hour},
		{to: 3 * time.Hour, want: 2 * time.Hour},
		{to: 3*time.Hour + 4*time.Minute},                        // too little to matter,
		{to: 3*time.Hour + 6*time.Minute, want: 6 * time.Minute}, // but it adds up
		{to: -24 * time.Hour, want: -27*time.Hour - 6*time.Minute},
	} {
		set(tt.to)
		if tt.want == 0 {
			continue
		}
		select {
		case step := <-got:
			if (step - tt.want).Abs() > time.Minute {
				t.Errorf("after the clock was set to %v: step %v, want %v", tt.to, step, tt.want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("after the clock was set to %v: no word of a step", tt.to)
		}
	}
}
