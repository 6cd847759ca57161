// Package notify receives what the daemons report: READY=1 and WATCHDOG=1 as
// sd_notify(3) describes them, and events of our containerd in the same datagrams. The kernel tells
// who the sender is (SCM_CREDENTIALS, see unix(7)). Only messages of root's processes
// that the caller knows are accepted.
//
// A pod that can write to /run may remove the socket's file. Then the server binds another
// one, and daemons that are connected to the one before are heard as well.
//
// It leaves out the rest of sd_notify: states, file descriptors.
package notify

import (
	"errors"
	"fmt"
	"os"
	"sync"
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

	path   string
	look   time.Duration // how often it looks whether its file is still there
	pong   chan struct{} // has room for one
	closed chan struct{}

	handling sync.Mutex // one message at a time, from whichever socket

	mu          sync.Mutex
	now, before *socket // before is nil unless the file was bound again
}

// lookBound is short beside the time within which daemons have to report.
const lookBound = 10 * time.Second

// Listen binds a datagram socket at path, for root only. A socket that is
// there is replaced.
func Listen(path string) (*Server, error) {
	now, err := bind(path)
	if err != nil {
		return nil, err
	}
	return &Server{path: path, look: lookBound, pong: make(chan struct{}, 1), closed: make(chan struct{}), now: now}, nil
}

// Run handles datagrams until Close is called, and reports errors of the socket
// to log.
func (s *Server) Run(log unixsocket.Log) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { s.receive(s.current(), log) })
	tick := time.NewTicker(s.look)
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-s.closed:
			return
		case <-tick.C:
		}
		again, err := s.bindAgain()
		if err != nil && !failing {
			log("notify: daemons that start now are not heard: %v", err)
		}
		failing = err != nil
		if again != nil {
			log("notify: somebody has removed %s; it is bound again", s.path)
			all.Go(func() { s.receive(again, log) })
		}
	}
}

func (s *Server) receive(from *socket, log unixsocket.Log) {
	defer unixsocket.Recover(log)
	unixsocket.Receive(from.conn, maxDatagram, log, func(d unixsocket.Datagram) {
		s.handling.Lock()
		defer s.handling.Unlock()
		if err := s.handle(d); err != nil {
			s.Refuse("notify: a message was dropped: %v", err)
		}
	})
}

// bindAgain binds the path if the socket's file is not there any more, and returns the
// new socket, or nil. The one before is kept until the next time, for what is in its
// queue and for those who are connected to it.
func (s *Server) bindAgain() (*socket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isClosed() || s.now.isAt(s.path) {
		return nil, nil
	}
	again, err := bind(s.path)
	if err != nil {
		return nil, err
	}
	s.before.close()
	s.now, s.before = again, s.now
	return again, nil
}

func (s *Server) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

func (s *Server) current() *socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Close ends Run.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isClosed() {
		close(s.closed)
	}
	s.before.close()
	return s.now.close()
}

// ping is the datagram that PID 1 sends to itself.
const ping = "X_KIOS_PING=1"

// Ping reports whether a message gets through to Run within the bound. Only one
// goroutine may call it.
func (s *Server) Ping(bound time.Duration) bool {
	late := time.Now().Add(bound)
	select {
	case <-s.pong: // of a Ping that gave up
	default:
	}
	self := s.current().self
	self.SetDeadline(late)
	if _, err := self.Write([]byte(ping)); err != nil {
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
