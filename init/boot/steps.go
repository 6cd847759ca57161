package boot

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"kios/init/timeline"
	"kios/internal/consoleline"
)

// history is the steps that have run, in order. The work adds to it; the shutdown
// reads it, perhaps while the work hangs.
type history struct {
	mu    sync.Mutex
	steps []*Step
	now   string // the name of the step that runs, or ran last
}

// begin notes which step runs.
func (h *history) begin(s *Step) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = s.Name
}

func (h *history) running() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *history) add(s *Step) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps = append(h.steps, s)
}

// list returns a copy.
func (h *history) list() []*Step {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.steps)
}

// last returns the step that ran last. There must be one.
func (h *history) last() *Step {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.steps[len(h.steps)-1]
}

// cut forgets all steps but the first count.
func (h *history) cut(count int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.steps = slices.Clone(h.steps[:count])
}

// forward does the steps from the index first on. It is work.
func (n *Node) forward(first int) error {
	for _, s := range n.plan.steps[first:] {
		if n.stopping.isSet() {
			return errStopping
		}
		if err := n.runStep(s); err != nil && s.Required {
			return fmt.Errorf("step %s: %w", s.Name, err)
		}
	}
	n.saveTimeline()
	return nil
}

// runStep runs one step and records how long it took.
func (n *Node) runStep(s *Step) error {
	defer n.history.add(s)
	n.history.begin(s)
	if s.Run == nil {
		return nil
	}
	start := time.Now()
	err := s.Run(n)
	took := time.Since(start)
	event := timeline.Event{Kind: "step", Name: s.Name}
	if err != nil {
		event.State, event.Error = "failed", err.Error()
		n.Log.Error("step %s failed: %v", s.Name, err)
	} else {
		n.Log.NoticeLine(consoleline.Line{Kind: consoleline.Step, Name: s.Name, Took: took})
	}
	n.Timeline.Add(event, took)
	return err
}

// rewind stops the steps that have run, the last first, down to the one that is
// given, and returns its index. If the node begins to stop meanwhile, it returns an
// error and leaves the rest to the shutdown. It is work.
func (n *Node) rewind(to *Step) (first int, err error) {
	ran := n.history.list()
	for first = len(ran); first > 0 && !n.stopping.isSet(); {
		first--
		s := ran[first]
		if s.Stop != nil {
			n.stopStep(s)
		}
		if s == to {
			break
		}
	}
	if n.stopping.isSet() {
		return first, errStopping
	}
	n.history.cut(first)
	n.daemons.forget()
	n.work.data = data{}
	return first, nil
}

// stopStep goes on after errors, panics and hangs: nothing is gained by a
// machine that is half stopped. A step that hangs is left alone.
func (n *Node) stopStep(s *Step) {
	start := time.Now()
	err := within(stepBound+s.patience(n), func() error { return s.Stop(n) })
	if err != nil {
		n.Log.Error("stop %s: %v", s.Name, err)
	}
	n.Log.NoticeLine(consoleline.Line{Kind: consoleline.Stop, Name: s.Name, Took: time.Since(start)})
}

// within runs f, and leaves it running if it takes longer than the bound. A panic of f
// is an error.
func within(bound time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- guarded(f) }()
	select {
	case err := <-done:
		return err
	case <-time.After(bound):
		return fmt.Errorf("%w: no end within %v", errHangs, bound)
	}
}

func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return f()
}
