package modules

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// watch sends when the file has been written, replaced or removed, until ctx
// ends. It watches the directory, because editors replace files; that must be
// there.
func watch(ctx context.Context, file string) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", filepath.Dir(file), err)
	}
	inotify := os.NewFile(uintptr(fd), "inotify")
	const mask = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(file), mask); err != nil {
		inotify.Close()
		return nil, fmt.Errorf("watch %s: %w", filepath.Dir(file), err)
	}
	context.AfterFunc(ctx, func() { inotify.Close() })
	changes := make(chan struct{}, 1)
	go func() {
		buf := make([]byte, 4<<10)
		for {
			n, err := inotify.Read(buf)
			if err != nil {
				return
			}
			if mentions(buf[:n], filepath.Base(file)) {
				select {
				case changes <- struct{}{}:
				default: // one is on its way
				}
			}
		}
	}()
	return changes, nil
}

// mentions looks for a name in a series of struct inotify_event, see
// inotify(7). An overflow, which has no name, counts as every name.
func mentions(events []byte, name string) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		if end > len(events) {
			return false
		}
		of := string(bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00"))
		if of == name || mask&unix.IN_Q_OVERFLOW != 0 {
			return true
		}
		events = events[end:]
	}
	return false
}
