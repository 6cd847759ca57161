package boot

import (
	"errors"
	"fmt"
	"time"

	"kios/internal/kubeletargs"

	"golang.org/x/sys/unix"
)

// clockStep is how far a clock must have been wrong to matter. The certificates that
// a cluster signs are valid from five minutes before.
const clockStep = 5 * time.Minute

// watchClock restarts the kubelet of a node that belongs to a cluster after the
// clock was set. When it starts, the kubelet computes how long it sleeps until it
// renews its certificate. It would sleep too long by as much as the clock was
// behind (nextRotationDeadline, client-go/util/certificate).
func (n *Node) watchClock() error {
	steps, err := newClockSteps()
	if err != nil {
		return err
	}
	n.spawn("clock", func() {
		for {
			step, err := steps.next(clockStep)
			if err != nil {
				n.Log.Error("the clock is not watched any more: %v", err)
				return
			}
			n.clockStepped(step)
		}
	})
	return nil
}

func (n *Node) clockStepped(step time.Duration) {
	if (kubeletargs.Files{Root: "/"}).Standalone() {
		return
	}
	if n.daemons.kubelet() == nil {
		return // it has not been started yet
	}
	n.Log.Notice("the clock was set by %v: the kubelet starts again, to reckon with it", step.Round(time.Second))
	n.restartKubelet()
}

// clockSteps tells when the clock is set. Then a read of a timer that never expires
// fails (TFD_TIMER_CANCEL_ON_SET, timerfd_create(2)).
type clockSteps struct {
	timer  int
	offset time.Duration // of the clock from the time since the boot
}

func newClockSteps() (*clockSteps, error) {
	timer, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	s := &clockSteps{timer: timer}
	if s.offset, err = clockOffset(); err != nil {
		return nil, err
	}
	return s, s.arm()
}

func (s *clockSteps) arm() error {
	never := unix.ItimerSpec{Value: unix.Timespec{Sec: 1 << 33}} // the year 2242
	const flags = unix.TFD_TIMER_ABSTIME | unix.TFD_TIMER_CANCEL_ON_SET
	if err := unix.TimerfdSettime(s.timer, flags, &never, nil); err != nil {
		return fmt.Errorf("set a timer: %w", err)
	}
	return nil
}

// next waits until the clock has been set by at least limit since next returned
// last, in one step or in many.
func (s *clockSteps) next(limit time.Duration) (time.Duration, error) {
	for {
		var expired [8]byte
		_, err := unix.Read(s.timer, expired[:])
		if err != nil && !errors.Is(err, unix.ECANCELED) && !errors.Is(err, unix.EINTR) {
			return 0, fmt.Errorf("read a timer: %w", err)
		}
		offset, err := clockOffset()
		if err != nil {
			return 0, err
		}
		if step := offset - s.offset; step.Abs() >= limit {
			s.offset = offset
			return step, s.arm()
		}
		if err := s.arm(); err != nil {
			return 0, err
		}
	}
}

func clockOffset() (time.Duration, error) {
	var real, boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &real); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return 0, fmt.Errorf("read the time since the boot: %w", err)
	}
	return time.Duration(real.Nano() - boot.Nano()), nil
}
