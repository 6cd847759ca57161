// Package regular opens files that a user has put on the node. What is there may be
// anything: a FIFO that nobody writes to, a link to a device that does something when it is
// opened. Only regular files are opened. Links are followed. It does what internal/userfile
// does, which this module cannot require.
package regular

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoFile says that what is there is no regular file.
var ErrNoFile = errors.New("it is not a regular file")

// Open opens a regular file for reading, and nothing else. A descriptor with O_PATH opens
// nothing (open(2)): a device does not notice it, a FIFO does not wait for a writer, and
// what it stands for cannot be replaced before the file behind it is opened.
func Open(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNoFile}
	}
	file, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(file), path), nil
}
