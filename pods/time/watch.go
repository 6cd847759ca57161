package chrony

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"kios/pods/filewatch"
)

// settle is for how long a directory must be quiet before its files are read:
// an editor writes in several steps.
const settle = 100 * time.Millisecond

// watcher tells of changes in a few directories, some of which may not exist
// yet.
type watcher struct {
	*filewatch.Watch
	dirs []string
}

func newWatcher(dirs ...string) (*watcher, error) {
	w, err := filewatch.New()
	return &watcher{w, dirs}, err
}

// add watches those of the directories that exist. Calling it again is how one
// that has come, or was replaced, is found; for the others it changes nothing.
func (w *watcher) add() error {
	const changes = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ATTRIB
	for _, dir := range w.dirs {
		if err := w.AddIfThere(dir, changes); err != nil {
			return err
		}
	}
	return nil
}

// run sends on changed after each burst of changes, until ctx ends.
func (w *watcher) run(ctx context.Context, changed chan<- struct{}) error {
	stop := context.AfterFunc(ctx, func() { w.Close() })
	defer stop()
	for {
		// What changed does not matter: the files are few, all are read again.
		if _, err := w.Wait(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch files: %w", err)
		}
		w.drain()
		select {
		case changed <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
	}
}

// drain waits until nothing has changed for a moment, but not for ever.
func (w *watcher) drain() {
	for range 10 {
		_ = w.SetDeadline(time.Now().Add(settle))
		if _, err := w.Wait(); err != nil {
			break
		}
	}
	_ = w.SetDeadline(time.Time{})
}
