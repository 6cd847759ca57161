package netconf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Finished states of a file only: an editor that truncates it and then writes
// must not be taken for one that emptied it.
const (
	fileEvents = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE
	dirEvents  = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_ONLYDIR
)

// Watch sends whenever the file at path may have changed (inotify(7)). The
// directory that it is in need not exist, but the one above must. The channel is
// closed when ctx ends.
func Watch(ctx context.Context, path string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init", err)
	}
	w := &watch{file: os.NewFile(uintptr(fd), "inotify"), fd: fd, path: path, changes: make(chan struct{}, 1)}
	above := filepath.Dir(filepath.Dir(path))
	if _, err := unix.InotifyAddWatch(fd, above, dirEvents); err != nil {
		w.file.Close()
		return nil, fmt.Errorf("watch %s: %w", above, err)
	}
	if err := w.watchDir(); err != nil {
		w.file.Close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { w.file.Close() })
	go func() {
		defer close(w.changes)
		defer stop()
		defer w.file.Close()
		w.run()
	}()
	return w.changes, nil
}

type watch struct {
	file    *os.File
	fd      int
	path    string
	changes chan struct{}
}

// watchDir watches the file's directory if there is one. Doing so again is no
// error and changes nothing.
func (w *watch) watchDir() error {
	dir := filepath.Dir(w.path)
	_, err := unix.InotifyAddWatch(w.fd, dir, fileEvents|unix.IN_ONLYDIR)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	return nil
}

func (w *watch) run() {
	dir, base := filepath.Base(filepath.Dir(w.path)), filepath.Base(w.path)
	buf := make([]byte, 16<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return
		}
		for rest := buf[:n]; len(rest) > 0; {
			name, lost, size := event(rest)
			rest = rest[size:]
			if name != dir && name != base && !lost {
				continue
			}
			if name == dir || lost {
				_ = w.watchDir() // it is there or it is not
			}
			select {
			case w.changes <- struct{}{}:
			default: // one is waiting to be read
			}
		}
	}
}

// event returns the name in an event, whether events were lost, and its size.
func event(raw []byte) (name string, lost bool, size int) {
	mask := binary.NativeEndian.Uint32(raw[4:])
	length := int(binary.NativeEndian.Uint32(raw[12:]))
	size = unix.SizeofInotifyEvent + length
	return unix.ByteSliceToString(raw[unix.SizeofInotifyEvent:size]), mask&unix.IN_Q_OVERFLOW != 0, size
}
