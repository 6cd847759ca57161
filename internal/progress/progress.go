// Package progress tells a person at a terminal, or the reader of a CI log,
// which step a long command is at, for how long, and how far it has come.
//
// On a terminal the line of the running step is redrawn in place; elsewhere a
// running step is reported every ten seconds. It draws no bars and knows no
// nesting: a step inside a step is the outer one's note.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// Log prints the steps of one command. Steps run one after the other.
type Log struct {
	w   io.Writer
	tty bool
}

// New returns a Log that writes to w, redrawing lines if w is a terminal.
func New(w io.Writer) *Log {
	f, ok := w.(*os.File)
	return &Log{w: w, tty: ok && term.IsTerminal(int(f.Fd()))}
}

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
	every := 10 * time.Second
	if l.tty {
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
				s.draw("...", !l.tty)
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
	if err != nil {
		s.draw("failed", true)
	} else {
		s.draw("ok", true)
	}
	return err
}

func (s *Step) draw(state string, newline bool) {
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
	if s.log.tty {
		line = "\r\x1b[K" + line
	}
	if newline {
		line += "\n"
	}
	io.WriteString(s.log.w, line)
}
