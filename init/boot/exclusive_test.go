package boot

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"kios/test/lab"
)

// What outlives its bound is undone when it ends, and nothing else is begun before.
func TestExclusive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a exclusive
		goOn, undone := make(chan struct{}), 0
		undo := func() { undone++ }
		nothing := func() error { return nil }
		if err := a.within(time.Minute, func() error { <-goOn; return nil }, undo); !errors.Is(err, errHangs) {
			t.Errorf("an attempt that hangs: %v", err)
		}
		if err := a.within(time.Minute, nothing, undo); !errors.Is(err, errBusy) || undone != 0 {
			t.Errorf("another one meanwhile: %v, undone %d times", err, undone)
		}
		close(goOn)
		synctest.Wait()
		if undone != 1 {
			t.Errorf("undone %d times, want once", undone)
		}
		lab.Must(t, a.within(time.Minute, nothing, undo))
		if undone != 1 {
			t.Error("what ended in time was undone")
		}
	})
}
