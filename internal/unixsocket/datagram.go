package unixsocket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Datagram is a message, and who sent it, which the kernel vouches for.
type Datagram struct {
	Data      []byte      // until the handler returns
	Sender    *unix.Ucred // nil if it is not known
	Truncated bool        // it was longer
}

// ListenDatagrams opens a datagram socket at path, with that mode, in place of
// one that is there. Its directory is made if need be.
func ListenDatagrams(path string, mode fs.FileMode) (*net.UnixConn, error) {
	if err := clear(path); err != nil {
		return nil, err
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(passCredentials(c), os.Chmod(path, mode)); err != nil {
		c.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return c, nil
}

func passCredentials(c *net.UnixConn) error {
	return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
}

// datagrams is a *net.UnixConn.
type datagrams interface {
	ReadMsgUnix(b, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error)
}

// Receive calls handle for each datagram that comes to a socket of
// ListenDatagrams, one after another, until it is closed. Of longer ones than
// limit the beginning is kept.
func Receive(c *net.UnixConn, limit int, log Log, handle func(Datagram)) {
	receive(c, limit, log, handle)
}

func receive(c datagrams, limit int, log Log, handle func(Datagram)) {
	buf, oob := make([]byte, limit), make([]byte, 256)
	var pause backOff
	for {
		n, oobn, flags, _, err := c.ReadMsgUnix(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			pause.wait(log, err)
			continue
		}
		pause.end()
		handleDatagram(Datagram{buf[:n], sender(oob[:oobn]), flags&unix.MSG_TRUNC != 0}, log, handle)
	}
}

func handleDatagram(d Datagram, log Log, handle func(Datagram)) {
	defer Recover(log)
	handle(d)
}
