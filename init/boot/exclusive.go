package boot

import (
	"errors"
	"sync"
	"time"
)

// exclusive is for something that is done in one place, such as to mount a disk there, and that
// may hang. What outlives its bound goes on; until it ends, there is no other attempt,
// and what it has done by then is undone.
type exclusive struct {
	mu         sync.Mutex
	busy, late bool
}

var errBusy = errors.New("an earlier attempt has not ended: a disk hangs")

// within does it within the bound. Undo is called if it ends later.
func (a *exclusive) within(bound time.Duration, do func() error, undo func()) error {
	if !a.begin() {
		return errBusy
	}
	err := within(bound, func() error {
		defer a.end(undo)
		return do()
	})
	if errors.Is(err, errHangs) {
		a.leave(undo)
	}
	return err
}

func (a *exclusive) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	began := !a.busy
	a.busy = true
	return began
}

func (a *exclusive) end(undo func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.late {
		undo()
	}
	a.busy, a.late = false, false
}

// leave is for an attempt that nobody waits for any more. It may have ended just now.
func (a *exclusive) leave(undo func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.late = a.busy; !a.late {
		undo()
	}
}
