package boot

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kios/init/kmsg"
	"kios/test/lab"
)

func TestOnceLogForgets(t *testing.T) {
	log := &lab.Buffer{}
	once := newOnceLog(kmsg.New(log))
	for range 2 {
		for i := range maxOnce {
			once.Error("line %d", i)
		}
	}
	if got := strings.Count(log.String(), "\n"); got != maxOnce {
		t.Errorf("%d lines are logged, want each of %d once", got, maxOnce)
	}
	for i := range 10 * maxOnce {
		once.Error("another line %d", i)
	}
	if len(once.logged) != maxOnce || len(once.order) != maxOnce {
		t.Errorf("%d and %d texts are remembered, want %d", len(once.logged), len(once.order), maxOnce)
	}
}

// slowConsole takes one line, and no second one before it is told.
type slowConsole struct {
	lab.Buffer
	taken, more chan struct{}
}

func (s *slowConsole) Write(p []byte) (int, error) {
	s.taken <- struct{}{}
	<-s.more
	return s.Buffer.Write(p)
}

// TestSaidLinesDoNotWait has a console that takes nothing while a daemon says more
// than there is room for.
func TestSaidLinesDoNotWait(t *testing.T) {
	console := &slowConsole{taken: make(chan struct{}), more: make(chan struct{})}
	said := newSaidLines(newOnceLog(kmsg.New(console)))
	go said.run()
	said.add("first")
	<-console.taken
	for i := range 1000 {
		said.add(fmt.Sprint(i))
	}
	go func() {
		for range console.taken {
		}
	}()
	close(console.more)
	lab.Until(t, time.Minute, "the lines that were kept", func() bool { return strings.Count(console.String(), "\n") == maxSaid+1 })
}

func TestSaidLinesAreBounded(t *testing.T) {
	log := &lab.Buffer{}
	said := newSaidLines(newOnceLog(kmsg.New(log)))
	now := time.Unix(1e9, 0)
	for i := range 1000 {
		said.pass(fmt.Sprint("line ", i), now)
		said.pass("the same", now)
	}
	if got := strings.Count(log.String(), "\n"); got != maxSaid+1 || !strings.HasSuffix(log.String(), "in their logs only\n") {
		t.Errorf("%d lines in a minute, want %d and one that says so:\n%s", got, maxSaid, lab.Tail(log.String(), 3))
	}
	said.pass("later", now.Add(time.Minute))
	if !strings.HasSuffix(log.String(), "later\n") {
		t.Errorf("the next minute is as silent:\n%s", lab.Tail(log.String(), 3))
	}
}

// A daemon that has found nothing wrong raises no alarm.
func TestSaidLinesHaveTheirLevel(t *testing.T) {
	log := &lab.Buffer{}
	said := newSaidLines(newOnceLog(kmsg.New(log)))
	for _, text := range []string{"note: it waits", "it is broken", "note: kubelet ready"} {
		said.pass(text, time.Unix(1e9, 0))
	}
	const want = "<5>kios: it waits\n<3>kios: error: it is broken\n<5>kios: note: kubelet ready\n"
	if log.String() != want {
		t.Errorf("the records are\n%swant\n%s", log, want)
	}
}
