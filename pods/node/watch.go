package node

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kios/pods/filewatch"
)

// watch waits for changes of a directory and of one file.
type watch struct {
	*filewatch.Watch
	watched *os.File
	id      int // of the watch of that file, if there is one
}

func newWatch(dir string) (*watch, error) {
	w, err := filewatch.New()
	if err != nil {
		return nil, err
	}
	// A file that is created ends a rotation; one that is moved here replaces
	// another.
	if _, err := w.Add(dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		w.Close()
		return nil, err
	}
	return &watch{Watch: w}, nil
}

// stop makes Wait return an error, now and from now on.
func (w *watch) stop() { w.SetDeadline(time.Unix(1, 0)) }

// file watches an open file, whatever its name is by now, and no other.
func (w *watch) file(f *os.File) error {
	if w.watched == f {
		return nil
	}
	if w.watched != nil {
		w.Remove(w.id) // it fails if that file is gone, and the watch with it
	}
	id, err := w.Add(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.IN_MODIFY)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	w.watched, w.id = f, id
	return nil
}
