// Package notify receives what the daemons report: READY=1 and WATCHDOG=1 as
// sd_notify(3) describes them, and events of our containerd in the same datagrams. The kernel tells
// who the sender is (SCM_CREDENTIALS, see unix(7)). Only messages of root's processes
// that the caller knows are accepted.
//
// It leaves out the rest of sd_notify: states, file descriptors.
package notify

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"kios/internal/unixsocket"
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
	path string
	pong chan struct{} // has room for one
}

// Listen binds a datagram socket at path, for root only. A socket that is
// there is replaced.
func Listen(path string) (*Server, error) {
	conn, err := unixsocket.ListenDatagrams(path, unixsocket.ForRoot)
	if err != nil {
		return nil, err
	}
	return &Server{conn: conn, path: path, pong: make(chan struct{}, 1)}, nil
}

// Run handles datagrams until Close is called, and reports errors of the socket
// to log.
func (s *Server) Run(log unixsocket.Log) {
	unixsocket.Receive(s.conn, maxDatagram, log, func(d unixsocket.Datagram) {
		if err := s.handle(d); err != nil {
			s.Refuse("notify: a message was dropped: %v", err)
		}
	})
}

// Close ends Run.
func (s *Server) Close() error { return s.conn.Close() }

// ping is the datagram that PID 1 sends to itself.
const ping = "X_KIOS_PING=1"

// Ping reports whether a message gets through to Run within the bound.
func (s *Server) Ping(bound time.Duration) bool {
	late := time.Now().Add(bound)
	select {
	case <-s.pong: // of a Ping that gave up
	default:
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.path, Net: "unixgram"})
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(late)
	if _, err := conn.Write([]byte(ping)); err != nil {
		return false
	}
	select {
	case <-s.pong:
		return true
	case <-time.After(time.Until(late)):
		return false
	}
}

// answer is for the datagram of Ping.
func (s *Server) answer() {
	select {
	case s.pong <- struct{}{}:
	default: // nobody waits any more
	}
}

func (s *Server) handle(d unixsocket.Datagram) error {
	if d.Sender == nil {
		return errors.New("its sender is not known")
	}
	if int(d.Sender.Pid) == os.Getpid() && string(d.Data) == ping {
		s.answer()
		return nil
	}
	name, known := s.Sender(int(d.Sender.Pid))
	if !known || d.Sender.Uid != 0 {
		return fmt.Errorf("process %d of user %d is not a daemon of this node", d.Sender.Pid, d.Sender.Uid)
	}
	if d.Truncated {
		return fmt.Errorf("%s sent more than %d bytes", name, maxDatagram)
	}
	m, known, err := Parse(d.Data)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if known {
		s.Receive(name, m)
	}
	return nil
}
