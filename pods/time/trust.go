package chrony

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"kios/internal/boottime"
	"kios/internal/wholefile"
)

// farOff is how far a server of DHCP may move the clock without another one that
// agrees, in one step and in all of a boot: in a day, no certificate of the node ends
// that is not renewed.
const farOff = 24 * time.Hour

// doubt is how long two servers of DHCP must agree after one of them was far off.
const doubt = time.Hour

// isDoubtful reports whether the clock must not be set by any amount because of what a
// single source says: whoever answers DHCP first names servers. It may if the clock has
// no idea of the time, and the hypervisor's outvotes such servers.
func (s *Service) isDoubtful(c choice) bool {
	return c.byDHCP && !s.clueless && (!c.ptp || s.clock == nil)
}

// demandSecond acts on an adjustment that was refused, because a single server of DHCP
// asks for so much: for a while two must agree, if there are two. One alone is refused
// when it is far off and followed when it is not: without it, the clock would not be
// kept at all. It reports whether anything is new to chronyd.
func (s *Service) demandSecond(line string) bool {
	found := tooMuch().FindStringSubmatch(line)
	if found == nil || s.confirm || s.refused {
		return false
	}
	by, _ := seconds(found[1])
	s.Log.Printf("a time server from DHCP says that the clock is %v off: that is believed only if two of them agree (name servers in %s to trust one)",
		by.Abs(), s.userFile())
	s.refused = true
	if len(s.choice.sources) < 2 {
		return false
	}
	s.confirm, s.relax, s.patience = true, time.After(doubt), time.After(patience)
	return true
}

// trustAgain ends what demandSecond began.
func (s *Service) trustAgain() { s.confirm, s.refused, s.relax = false, false, nil }

// watchSum has two servers of DHCP agree as soon as these have moved the clock by too
// much in small steps.
func (s *Service) watchSum() {
	if !s.isDoubtful(s.choice) || s.origin.IsZero() {
		s.setOrigin(began())
		return
	}
	if s.movesFar(0) && !s.confirm {
		s.Log.Printf("time servers from DHCP have moved the clock by %v since the start: more is believed only if two of them agree (name servers in %s to trust one)",
			s.moved().Round(time.Second), s.userFile())
		s.confirm = true
	}
}

// movesFar reports whether the clock would be too far from where DHCP's servers found
// it if they moved it by so much more.
func (s *Service) movesFar(more time.Duration) bool {
	return s.isDoubtful(s.choice) && (s.moved()+more).Abs() > farOff
}

// moved is how far the clock was moved while nobody but servers of DHCP could.
func (s *Service) moved() time.Duration { return began().Sub(s.origin) }

// began is when the machine was started, as the clock has it now. The oscillator's own
// count is taken: what speeds the clock up speeds up the other counts, too. It leaves
// out the time in which the machine was suspended.
func began() time.Time {
	suspended := boottime.Now() - read(unix.CLOCK_MONOTONIC)
	return time.Now().Round(0).Add(-read(unix.CLOCK_MONOTONIC_RAW) - suspended)
}

func read(clock int32) time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(clock, &ts) // it cannot fail: the clocks exist and ts is ours
	return time.Duration(ts.Nano())
}

// originFile keeps the origin over a restart: it must not begin the sum anew.
func (s *Service) originFile() string { return filepath.Join(s.RunDir, "origin") }

func (s *Service) setOrigin(to time.Time) {
	if to.Sub(s.origin).Abs() < time.Second {
		return
	}
	s.origin = to
	text := fmt.Sprintf("%s%d\n", s.bootID, to.UnixNano())
	if err := wholefile.Volatile(s.originFile(), []byte(text), 0o644); err != nil {
		s.Log.Printf("after a restart, time servers from DHCP may move the clock by %v more: %v", farOff, err)
	}
}

// recallOrigin reads what setOrigin kept in this boot.
func (s *Service) recallOrigin() {
	text, err := os.ReadFile(s.originFile())
	var nano int64
	if _, scanned := fmt.Sscanf(string(text), s.bootID+"%d\n", &nano); err == nil && scanned == nil {
		s.origin = time.Unix(0, nano)
	}
}
