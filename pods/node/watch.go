package node

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watch waits for changes of a directory and of one file, see inotify(7).
type watch struct {
	fd      int
	inotify *os.File
	buf     [4 << 10]byte

	watched *os.File
	wd      int // the watch of that file, or -1
}

func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	w := &watch{fd: fd, inotify: os.NewFile(uintptr(fd), "inotify"), wd: -1}
	// A file that is created ends a rotation; one that is moved here replaces
	// another.
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		w.close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	return w, nil
}

func (w *watch) close() { w.inotify.Close() }

// stop makes wait return an error, now and from now on.
func (w *watch) stop() { w.inotify.SetReadDeadline(time.Unix(1, 0)) }

// file watches an open file, whatever its name is by now, and no other.
func (w *watch) file(f *os.File) error {
	if w.watched == f {
		return nil
	}
	if w.wd >= 0 {
		// It fails if that file is gone, and the watch with it.
		unix.InotifyRmWatch(w.fd, uint32(w.wd))
	}
	wd, err := unix.InotifyAddWatch(w.fd, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.IN_MODIFY)
	if err != nil {
		return fmt.Errorf("watch %s: %w", f.Name(), err)
	}
	w.watched, w.wd = f, wd
	return nil
}

// wait returns after something has changed since the last wait.
func (w *watch) wait() error {
	_, err := w.inotify.Read(w.buf[:])
	return err
}
