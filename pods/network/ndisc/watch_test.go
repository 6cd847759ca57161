package ndisc

import (
	"testing"
	"time"
)

// A router says another thing each millisecond.
func TestWatchSendsAtAPace(t *testing.T) {
	b := newBench(t)
	b.list(eth0())
	w := newWatcher(make(chan Event, 10000))
	w.table = b.table // which is the same interface
	step := func() {
		b.now += time.Millisecond
		w.send(t.Context(), b.now)
	}
	for n := range 10000 {
		b.option(time.Duration(n%2)*10*time.Minute, []string{"fd00::1"})
		step()
	}
	b.option(time.Minute, []string{"fd00::2"})
	for range 2000 {
		step()
	}
	events := len(w.events)
	if events < 20 || events > 35 {
		t.Errorf("in ten seconds there are %d events, want about 30", events)
	}
	var last Event
	for range events {
		last = <-w.events
	}
	if n := len(last.DNS); n == 0 || last.DNS[n-1].Addr.String() != "fd00::2" {
		t.Errorf("the last event has the servers %v, want fd00::2 at the end", last.DNS)
	}
}
