package chrony

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"kios/internal/wholefile"
	"kios/pods/lazyregexp"
)

// Lines of chronyd that this service acts on.
var (
	selected = lazyregexp.New(`^Selected source (\S+)`)
	lost     = lazyregexp.New(`^Can't synchronise: no selectable sources`)
	disagree = lazyregexp.New(`^Can't synchronise: no majority`)
	wrongBy  = lazyregexp.New(`^System clock wrong by (-?[0-9.]+) seconds`)
	tooMuch  = lazyregexp.New(`^Adjustment of (-?[0-9.]+) seconds exceeds the allowed maximum`)
	stepped  = lazyregexp.New(`^(System clock was stepped by|Could not step system clock)`)
)

// tooFarBehind is the difference from which a clock that was right before is
// stepped instead of slewed. It is only stepped forwards, as is needed after a
// machine was suspended or paused: to slew an hour takes half a day, in which
// nothing on the node agrees with the rest of the world.
const tooFarBehind = 10 * time.Second

// lag is how far the clock was found to be behind. chronyd may be about to step it
// by itself, and says so in its next line. So the service waits a moment before it
// asks chronyd to step it.
type lag struct {
	by  time.Duration
	due <-chan time.Time
}

// hear passes on a line of chronyd and acts on it.
func (s *Service) hear(ctx context.Context, line string) {
	s.Log.Print("chronyd: ", line)
	switch {
	case selected().MatchString(line):
		s.gotSource(ctx, selected().FindStringSubmatch(line)[1])
	case lost().MatchString(line) && s.synchronised:
		s.Log.Print("no time source answers: the clock goes on at its last known rate")
	case disagree().MatchString(line):
		s.Log.Print("the time sources disagree, so none is followed: name others in " + s.userFile() +
			", or write \"ptp: false\" there if it is the hypervisor's clock that is wrong")
	case wrongBy().MatchString(line):
		by, ok := seconds(wrongBy().FindStringSubmatch(line)[1])
		if ok && s.synchronised && by >= tooFarBehind {
			s.behind = lag{by, time.After(time.Second)}
		}
	case stepped().MatchString(line):
		s.behind = lag{}
	}
}

// gotSource tells of the first synchronisation, and remembers it.
func (s *Service) gotSource(ctx context.Context, name string) {
	s.patience = nil
	if s.synchronised {
		return
	}
	tracking := s.tracking(ctx)
	if len(tracking) > 0 && tracking[0] == "00000000" {
		return // it was selected, but what it says was refused
	}
	s.synchronised = true
	if s.clueless { // now there is something to lose
		s.clueless = false
		s.setOrigin(began())
	}
	if err := wholefile.Volatile(s.bootFile(), []byte(s.bootID), 0o644); err != nil {
		s.Log.Printf("after a restart the clock may be stepped again: %v", err)
	}
	text := "synchronised with " + name
	switch ahead, ok := lastOffset(tracking); {
	case ok && ahead > 0:
		text += fmt.Sprintf(": the clock was %v ahead", ahead)
	case ok:
		text += fmt.Sprintf(": the clock was %v behind", -ahead)
	}
	s.Log.Print(text)
}

// tracking asks chronyd about the clock: its fields, or none.
func (s *Service) tracking(ctx context.Context) []string {
	answer, err := s.ask(ctx, "tracking")
	if err != nil {
		s.Log.Print(err)
		return nil
	}
	return strings.Split(answer, ",")
}

// lastOffset returns how far the clock was ahead at its last update.
func lastOffset(tracking []string) (time.Duration, bool) {
	if len(tracking) < 6 {
		return 0, false
	}
	return seconds(tracking[5])
}

// catchUp steps a clock that is far behind.
func (s *Service) catchUp(ctx context.Context) {
	if !s.confirm && s.movesFar(s.behind.by) {
		s.Log.Printf("the clock is said to be %v behind: it is not set forward, because time servers from DHCP have moved it by %v already (name servers in %s to trust one)",
			s.behind.by, s.moved().Round(time.Second), s.userFile())
		s.behind, s.confirm = lag{}, true
		return
	}
	s.Log.Printf("the clock is %v behind, probably because the machine was paused: it is set forward", s.behind.by)
	s.behind = lag{}
	s.tell(ctx, "makestep")
}

// seconds reads a number of seconds. Those of 1970 still fit.
func seconds(text string) (time.Duration, bool) {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, false
	}
	return time.Duration(f * float64(time.Second)).Round(time.Microsecond), true
}

// wasSynchronised reports whether the clock was right before in this boot.
func (s *Service) wasSynchronised() bool {
	id, err := os.ReadFile(s.bootFile())
	return err == nil && string(id) == s.bootID
}
