// Package unixsocket opens the Unix sockets at which PID 1 serves pods. The
// file's mode says who may connect.
package unixsocket

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// ForRoot is the mode of a socket to which only root may connect.
const ForRoot fs.FileMode = 0o600

// Listen opens a stream socket at path, with that mode, in place of one that is
// there. Its directory is made if need be.
func Listen(path string, mode fs.FileMode) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
