// Package rootsocket opens the Unix sockets at which PID 1 serves pods. What
// protects them is the file's mode: only root may connect.
package rootsocket

import (
	"errors"
	"net"
	"os"
	"path/filepath"
)

// Listen opens a stream socket at path, with mode 0600, in place of one that is
// there. Its directory is made if need be.
func Listen(path string) (*net.UnixListener, error) {
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
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
