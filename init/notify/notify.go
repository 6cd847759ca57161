// Package notify receives what the daemons report: READY=1 as sd_notify(3)
// describes it, and events of our containerd in the same datagrams. The kernel tells
// who the sender is (SCM_CREDENTIALS, see unix(7)). Only messages of root's processes
// that the caller knows are accepted.
//
// It leaves out the rest of sd_notify: states, watchdogs, file descriptors.
package notify

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Server is a bound socket. Make it with Listen and let a goroutine call Run.
type Server struct {
	// Sender returns the name of the daemon with the given process number, or
	// false. It must be set before Run, as must the others.
	Sender func(pid int) (name string, known bool)
	// Receive is called with each message, one at a time.
	Receive func(sender string, m Message)
	// Refuse is called with a sentence for each datagram that was dropped.
	Refuse func(format string, args ...any)

	conn *net.UnixConn
}

// Listen binds a datagram socket at path, for root only. A socket that is
// there is replaced.
func Listen(path string) (*Server, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	os.Remove(path)
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	s := &Server{conn: conn}
	if err := s.passCredentials(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask for credentials on %s: %w", path, err)
	}
	return s, os.Chmod(path, 0o600)
}

func (s *Server) passCredentials() error {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	if err != nil {
		return err
	}
	return optErr
}

// Run handles datagrams until Close is called.
func (s *Server) Run() {
	buf, oob := make([]byte, maxDatagram), make([]byte, 256)
	for {
		n, oobn, flags, _, err := s.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		if err := s.handle(buf[:n], oob[:oobn], flags); err != nil {
			s.Refuse("notify: a message was dropped: %v", err)
		}
	}
}

// Close ends Run.
func (s *Server) Close() error { return s.conn.Close() }

func (s *Server) handle(datagram, oob []byte, flags int) error {
	cred, err := credentials(oob)
	if err != nil {
		return err
	}
	name, known := s.Sender(int(cred.Pid))
	if !known || cred.Uid != 0 {
		return fmt.Errorf("process %d of user %d is not a daemon of this node", cred.Pid, cred.Uid)
	}
	if flags&unix.MSG_TRUNC != 0 {
		return fmt.Errorf("%s sent more than %d bytes", name, maxDatagram)
	}
	m, known, err := Parse(datagram)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if known {
		s.Receive(name, m)
	}
	return nil
}

// credentials finds the sender in the control messages, and closes files that
// came with them.
func credentials(oob []byte) (cred *unix.Ucred, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
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
	if cred == nil {
		return nil, fmt.Errorf("its sender is not known")
	}
	return cred, nil
}
