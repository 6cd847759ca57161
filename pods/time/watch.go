package chrony

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// settle is for how long a directory must be quiet before its files are read:
// an editor writes in several steps.
const settle = 100 * time.Millisecond

// watcher tells of changes in a few directories, some of which may not exist
// yet (inotify(7)).
type watcher struct {
	file *os.File
	fd   int
	dirs []string
}

func newWatcher(dirs ...string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	return &watcher{os.NewFile(uintptr(fd), "inotify"), fd, dirs}, nil
}

// add watches those of the directories that exist. Calling it again is how one
// that has come, or was replaced, is found; for the others it changes nothing.
func (w *watcher) add() error {
	const changes = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ATTRIB
	for _, dir := range w.dirs {
		_, err := unix.InotifyAddWatch(w.fd, dir, changes|unix.IN_ONLYDIR)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	return nil
}

// run sends on changed after each burst of changes, until ctx ends.
func (w *watcher) run(ctx context.Context, changed chan<- struct{}) error {
	stop := context.AfterFunc(ctx, func() { w.file.Close() })
	defer stop()
	buffer := make([]byte, 4096)
	for {
		// What changed does not matter: the files are few, all are read again.
		if _, err := w.file.Read(buffer); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch files: %w", err)
		}
		w.drain(buffer)
		select {
		case changed <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
	}
}

// drain waits until nothing has changed for a moment, but not for ever.
func (w *watcher) drain(buffer []byte) {
	for range 10 {
		_ = w.file.SetReadDeadline(time.Now().Add(settle))
		if _, err := w.file.Read(buffer); err != nil {
			break
		}
	}
	_ = w.file.SetReadDeadline(time.Time{})
}
