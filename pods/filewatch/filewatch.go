// Package filewatch tells pods of changes of files and directories (inotify(7)).
package filewatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Watch tells of changes from Add to Close.
type Watch struct {
	file *os.File
	fd   int
	buf  [16 << 10]byte
}

// Event is a change.
type Event struct {
	Name string // in the directory that is watched; "" for that itself
	Lost bool   // some events were lost: anything may have changed
}

// New returns a Watch of nothing yet.
func New() (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", os.NewSyscallError("inotify_init1", err))
	}
	return &Watch{file: os.NewFile(uintptr(fd), "inotify"), fd: fd}, nil
}

// Close ends the watch, and a Wait that is under way.
func (w *Watch) Close() error { return w.file.Close() }

// Add watches a file or a directory for what the mask has (IN_CREATE ...). Doing so
// again is no error and changes nothing.
func (w *Watch) Add(path string, mask uint32) (id int, err error) {
	id, err = unix.InotifyAddWatch(w.fd, path, mask)
	if err != nil {
		return 0, fmt.Errorf("watch %s: %w", path, err)
	}
	return id, nil
}

// AddIfThere is Add for a directory that may not exist.
func (w *Watch) AddIfThere(dir string, mask uint32) error {
	_, err := w.Add(dir, mask|unix.IN_ONLYDIR)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

// Remove ends what Add began. It fails if the file is gone, and its watch with it.
func (w *Watch) Remove(id int) error {
	_, err := unix.InotifyRmWatch(w.fd, uint32(id))
	return err
}

// SetDeadline makes Wait return os.ErrDeadlineExceeded from that time on.
func (w *Watch) SetDeadline(t time.Time) error { return w.file.SetReadDeadline(t) }

// Wait returns what has changed since the last Wait, once there is something.
func (w *Watch) Wait() ([]Event, error) {
	n, err := w.file.Read(w.buf[:])
	if err != nil {
		return nil, err
	}
	return events(w.buf[:n]), nil
}

// events reads a series of struct inotify_event.
func events(raw []byte) (list []Event) {
	for len(raw) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(raw[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(raw[12:]))
		if end > len(raw) {
			return list
		}
		name := unix.ByteSliceToString(raw[unix.SizeofInotifyEvent:end])
		list = append(list, Event{name, mask&unix.IN_Q_OVERFLOW != 0})
		raw = raw[end:]
	}
	return list
}

// Finished states of a file only: an editor that truncates it and then writes
// must not be taken for one that emptied it.
const (
	fileEvents = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE
	dirEvents  = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_ONLYDIR
)

// File sends whenever the file at path may have changed: written, replaced or
// removed. The directory that it is in need not exist, but the one above must. The
// channel is closed when ctx ends.
func File(ctx context.Context, path string) (<-chan struct{}, error) {
	w, err := New()
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	_, err = w.Add(filepath.Dir(dir), dirEvents)
	if err == nil {
		err = w.AddIfThere(dir, fileEvents)
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	changes := make(chan struct{}, 1)
	stop := context.AfterFunc(ctx, func() { w.Close() })
	go func() {
		defer close(changes)
		defer w.Close()
		defer stop()
		w.follow(path, changes)
	}()
	return changes, nil
}

func (w *Watch) follow(path string, changes chan<- struct{}) {
	dir, base := filepath.Dir(path), filepath.Base(path)
	for {
		list, err := w.Wait()
		if err != nil {
			return
		}
		for _, e := range list {
			ofDir := e.Name == filepath.Base(dir) || e.Lost
			if !ofDir && e.Name != base {
				continue
			}
			if ofDir {
				_ = w.AddIfThere(dir, fileEvents) // it is there or it is not
			}
			select {
			case changes <- struct{}{}:
			default: // one is waiting to be read
			}
		}
	}
}
