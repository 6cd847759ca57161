// Package progress tells a person at a terminal, or the reader of a CI log,
// which step a long command is at, for how long, and how far it has come.
//
// On a terminal the lines of the running steps are redrawn in place; elsewhere a
// running step is reported every ten seconds. It draws no bars and knows no
// nesting: a step inside a step is the outer one's note.
package progress

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"kios/host/terminal"
)

// Log prints the steps of one command. Steps may run at the same time.
type Log struct {
	mu      sync.Mutex
	screen  *terminal.Screen
	running []*Step
}

// New returns a Log that writes to w, redrawing lines if w is a terminal.
func New(w io.Writer) *Log { return &Log{screen: terminal.New(w)} }

// Step is a running step.
type Step struct {
	log   *Log
	name  string
	start time.Time

	mu    sync.Mutex
	done  int
	total int
	note  string

	stop    chan struct{}
	stopped sync.WaitGroup
}

// Start begins a step and reports it until End is called.
func (l *Log) Start(name string) *Step {
	s := &Step{log: l, name: name, start: time.Now(), stop: make(chan struct{})}
	l.mu.Lock()
	l.running = append(l.running, s)
	l.mu.Unlock()
	every := 10 * time.Second
	if l.screen.Redraws() {
		every = 200 * time.Millisecond
	}
	s.stopped.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				l.draw(s, "...")
			}
		}
	})
	return s
}

// Set reports that done of total objects are finished; a total of 0 means that
// it is not known.
func (s *Step) Set(done, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done, s.total = done, total
}

// Note sets a short remark that stands behind the step's name.
func (s *Step) Note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note = fmt.Sprintf(format, args...)
}

// End ends the step and prints its last line: "ok", or "failed" when err is
// not nil. It returns err, so that a caller can return what End returns.
func (s *Step) End(err error) error {
	close(s.stop)
	s.stopped.Wait()
	s.log.mu.Lock()
	s.log.running = slices.DeleteFunc(s.log.running, func(r *Step) bool { return r == s })
	s.log.mu.Unlock()
	if err != nil {
		s.log.draw(s, "failed")
	} else {
		s.log.draw(s, "ok")
	}
	return err
}

// Print prints a line that belongs to no step.
func (l *Log) Print(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.print(line)
}

// draw prints the line of a step.
func (l *Log) draw(s *Step, state string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.screen.Redraws() && slices.Contains(l.running, s) {
		l.print()
	} else {
		l.print(s.line(state))
	}
}

// print prints lines. On a terminal those of the running steps stay below them.
func (l *Log) print(lines ...string) {
	var running []string
	for _, s := range l.running {
		running = append(running, l.screen.Fit(s.line("...")))
	}
	l.screen.Draw(lines, running)
}

func (s *Step) line(state string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%7.1fs  %-6s %s", time.Since(s.start).Seconds(), state, s.name)
	if s.total > 0 {
		line += fmt.Sprintf("  %d of %d", s.done, s.total)
	} else if s.done > 0 {
		line += fmt.Sprintf("  %d", s.done)
	}
	if s.note != "" {
		line += "  " + s.note
	}
	return line
}
