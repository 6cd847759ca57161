package chrony

import (
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
)

// newDoubter is a service with that many servers of DHCP, whose chronyc writes down what
// it is told.
func newDoubter(t *testing.T, servers int) (s *Service, told func() string, lines *strings.Builder) {
	t.Helper()
	dir := t.TempDir()
	lines = &strings.Builder{}
	s = &Service{Chronyc: filepath.Join(dir, "chronyc"), RunDir: dir, bootID: "a-boot\n", synchronised: true, Log: log.New(lines, "", 0)}
	s.choice = choice{byDHCP: true, sources: make([]source, servers)}
	lab.Must(t, os.WriteFile(s.Chronyc, []byte("#!/bin/sh\necho \"$@\" >>"+dir+"/told\n"), 0o755))
	return s, func() string {
		text, _ := os.ReadFile(filepath.Join(dir, "told"))
		return string(text)
	}, lines
}

// Many small steps are no way around the bound for one.
func TestStepsAddUp(t *testing.T) {
	s, told, _ := newDoubter(t, 1)
	s.watchSum()
	s.origin = s.origin.Add(-20 * time.Hour) // the first step
	s.behind.by = 3 * time.Hour
	if s.catchUp(t.Context()); s.confirm || !strings.Contains(told(), "makestep") {
		t.Errorf("23 hours in sum are refused: %q", told())
	}
	before := told()
	s.behind.by = 23 * time.Hour
	if s.catchUp(t.Context()); !s.confirm || told() != before {
		t.Errorf("43 hours in sum are not refused: %q", told())
	}
	s.trustAgain() // as other servers would have it
	if s.watchSum(); s.confirm {
		t.Error("20 hours in sum are too much")
	}
	s.origin = s.origin.Add(-5 * time.Hour)
	if s.watchSum(); !s.confirm || !strings.Contains(s.config(s.choice), "minsources 2") {
		t.Error("25 hours in sum are not too much")
	}
}

// The sum goes on after a restart in the same boot, and begins where others than DHCP's
// servers have set the clock.
func TestOrigin(t *testing.T) {
	s, _, _ := newDoubter(t, 1)
	s.setOrigin(began().Add(-25 * time.Hour))
	again, _, _ := newDoubter(t, 1)
	again.RunDir = s.RunDir
	if again.recallOrigin(); !again.movesFar(0) {
		t.Error("a restart begins the sum anew")
	}
	other, _, _ := newDoubter(t, 1)
	other.RunDir, other.bootID = s.RunDir, "another-boot\n"
	if other.recallOrigin(); !other.origin.IsZero() {
		t.Error("the origin of another boot counts")
	}
	again.choice.byDHCP = false
	again.watchSum()
	again.choice.byDHCP = true
	if again.watchSum(); again.movesFar(0) {
		t.Error("what the user's servers did counts as DHCP's")
	}
}

// A clock without an idea of the time believes one server once.
func TestIdeaOfTime(t *testing.T) {
	s, _, _ := newDoubter(t, 1)
	s.clueless, s.synchronised = true, false
	s.setOrigin(began().Add(-9000 * time.Hour))
	s.gotSource(t.Context(), "192.0.2.1")
	if s.watchSum(); s.confirm || !strings.Contains(s.config(s.choice), "maxchange 86400") {
		t.Errorf("with an idea: two must agree: %v, configuration:\n%s", s.confirm, s.config(s.choice))
	}
}

// One server that is far off once is refused and followed later; of two, both must
// agree for a while.
func TestFarOffOnce(t *testing.T) {
	const line = "Adjustment of 90000.000 seconds exceeds the allowed maximum of 86400.000 seconds (ignored)"
	for servers, want := range map[int]string{1: "maxchange 86400 0 -1", 2: "minsources 2"} {
		s, _, lines := newDoubter(t, servers)
		again := s.demandSecond(line)
		s.demandSecond(line)
		if again != (servers == 2) || !strings.Contains(s.config(s.choice), want) || strings.Count(lines.String(), "25h0m0s off") != 1 {
			t.Errorf("%d servers: new %v, lines %q, configuration:\n%s", servers, again, lines, s.config(s.choice))
		}
		if (s.relax != nil) != (servers == 2) {
			t.Errorf("%d servers: it is believed again: %v", servers, s.relax != nil)
		}
		if s.trustAgain(); !strings.Contains(s.config(s.choice), "maxchange 86400 0 -1") {
			t.Errorf("%d servers: nobody is believed again:\n%s", servers, s.config(s.choice))
		}
	}
}
