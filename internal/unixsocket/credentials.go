package unixsocket

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Peer asks the kernel who is at the other end of a connection (SO_PEERCRED). A
// user of a pod's own user namespace has the number that it has on the node,
// which is never 0.
func Peer(c *net.UnixConn) (*unix.Ucred, error) {
	var cred *unix.Ucred
	err := control(c, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	return cred, err
}

// sender finds who sent a datagram in its control messages (SCM_CREDENTIALS), and
// closes files that came with them: nobody has business sending us any.
func sender(oob []byte) (cred *unix.Ucred) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
		if c, err := unix.ParseUnixCredentials(&m); err == nil {
			cred = c
		}
	}
	return cred
}

// control calls f with the descriptor of a connection.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var fErr error
	return errors.Join(raw.Control(func(fd uintptr) { fErr = f(int(fd)) }), fErr)
}
