// Package timeline records what happened during the boot and when, in milliseconds
// since the kernel started: the steps of PID 1, the daemons, the images, the
// containers. It keeps these events in a JSON file, which is replaced in one rename,
// and prints them once as a table.
package timeline

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"kios/internal/boottime"
	"kios/internal/wholefile"
)

// maxEvents bounds the file: a pod that crashes for ever must not fill /run.
const maxEvents = 500

// Event is something that happened.
type Event struct {
	// Kind is step, daemon, image or container.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// State is the outcome: ready, started, exited, imported, failed. A step that
	// succeeded has none.
	State string `json:"state,omitempty"`
	// AtMS is when it ended, DurationMS how long it took where that is known.
	AtMS       int64 `json:"at_ms"`
	DurationMS int64 `json:"duration_ms,omitempty"`
	// Error says why it failed.
	Error string `json:"error,omitempty"`
}

// Timeline is safe for use by several goroutines.
type Timeline struct {
	path string
	now  func() time.Duration // since the kernel started

	mu     sync.Mutex
	events []Event
	last   time.Duration
	closed bool
	dirty  bool
}

// New returns a Timeline that is kept in the file path.
func New(path string) *Timeline { return &Timeline{path: path, now: boottime.Now} }

// Add records an event that ends now. It reports false once the timeline is
// closed: the machine is up then.
func (t *Timeline) Add(e Event, took time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.events) >= maxEvents {
		return false
	}
	t.last = t.now()
	e.AtMS, e.DurationMS = t.last.Milliseconds(), took.Milliseconds()
	t.events = append(t.events, e)
	t.dirty = true
	return true
}

// Close ends the recording.
func (t *Timeline) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// Quiet returns how long ago the last event was.
func (t *Timeline) Quiet() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now() - t.last
}

// Save writes the file if there is something new.
func (t *Timeline) Save() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.dirty {
		return nil
	}
	t.dirty = false
	text, err := json.MarshalIndent(struct {
		Events []Event `json:"events"`
	}{t.events}, "", "  ")
	if err != nil {
		return err
	}
	return wholefile.Volatile(t.path, append(text, '\n'), 0o644)
}

// Table returns the events as lines of a table.
func (t *Timeline) Table() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := []string{fmt.Sprintf("%9s %8s  %s", "AT", "TOOK", "WHAT")}
	for _, e := range t.events {
		lines = append(lines, e.line())
	}
	return lines
}

func (e Event) line() string {
	took := ""
	if e.DurationMS > 0 {
		took = fmt.Sprintf("%d ms", e.DurationMS)
	}
	text := e.Kind + " " + e.Name
	if e.State != "" {
		text += " " + e.State
	}
	if e.Error != "" {
		text += ": " + e.Error
	}
	return fmt.Sprintf("%7.3f s %8s  %s", float64(e.AtMS)/1000, took, text)
}
