// Package unixsocket serves Unix sockets (unix(7)): it opens them, takes clients
// or datagrams until the socket is closed, and asks the kernel who is at the
// other end. Errors that may pass, such as too many open files, are waited out;
// a panic while one client is served is logged and ends that client alone.
//
// It leaves out what is said on a socket. The file's mode says who may connect.
package unixsocket

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"
)

// ForRoot is the mode of a socket to which only root may connect.
const ForRoot fs.FileMode = 0o600

// Log reports an error.
type Log func(format string, args ...any)

// Listen opens a stream socket at path, with that mode, in place of one that is
// there. Its directory is made if need be.
func Listen(path string, mode fs.FileMode) (*net.UnixListener, error) {
	if err := clear(path); err != nil {
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

// clear makes the directory of a socket, and room for it.
func clear(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Serve calls handle for each client, in a goroutine of its own, until l is
// closed. Each connection is closed when handle returns. With limit clients the
// next one is closed at once.
func Serve(l *net.UnixListener, limit int, log Log, handle func(*net.UnixConn)) {
	serve(l, limit, log, handle)
}

// ServeSerially is Serve for one client at a time. Others wait in the kernel's
// queue.
func ServeSerially(l *net.UnixListener, log Log, handle func(*net.UnixConn)) {
	accept(l, log, func(c *net.UnixConn) { handleOne(c, log, handle) })
}

// acceptor is a *net.UnixListener.
type acceptor interface {
	AcceptUnix() (*net.UnixConn, error)
}

func serve(l acceptor, limit int, log Log, handle func(*net.UnixConn)) {
	room := make(chan struct{}, limit)
	accept(l, log, func(c *net.UnixConn) {
		select {
		case room <- struct{}{}:
			// There is room again before the client sees its end, and comes back.
			go handleOne(c, log, func(c *net.UnixConn) {
				defer func() { <-room }()
				handle(c)
			})
		default:
			c.Close()
		}
	})
}

// accept hands over each client until the socket is closed.
func accept(l acceptor, log Log, take func(*net.UnixConn)) {
	var pause backOff
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			pause.wait(log, err)
			continue
		}
		pause.end()
		take(c)
	}
}

func handleOne(c *net.UnixConn, log Log, handle func(*net.UnixConn)) {
	defer c.Close()
	defer Recover(log)
	handle(c)
}

// Recover ends a panic and logs it with its stack. It is for defer statements of
// goroutines whose work comes from outside.
func Recover(log Log) {
	if v := recover(); v != nil {
		log("panic: %v\n%s", v, debug.Stack())
	}
}

// backOff waits while a socket fails, longer each time, and tells of the first
// error only. The zero value is ready for use.
type backOff struct{ last time.Duration }

// Bounds of a pause. The longer one is also how late the end of a socket may be
// noticed.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

func (b *backOff) wait(log Log, err error) {
	if b.last == 0 {
		log("wait until the socket works again: %v", err)
	}
	b.last = min(max(2*b.last, minPause), maxPause)
	time.Sleep(b.last)
}

func (b *backOff) end() { b.last = 0 }
