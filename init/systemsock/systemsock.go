// Package systemsock is the socket /run/system.sock of the first kiOS, which
// pods that were written for it use. A byte is a message:
//
//	to PID 1    0x01  stop the node in order
//	            0x02  go on at once: wait for nobody any more
//	            0x03  restart the kubelet
//	            0x04  restart the container runtime
//	from PID 1  0x01  the node is being stopped
//
// There are no answers, as there never were any. The same can be had with answers
// from the system bus (init/systembus).
package systemsock

import (
	"net"
	"sync"
	"time"

	"kios/internal/unixsocket"
)

// Path is where the socket is on a node.
const Path = "/run/system.sock"

// Byte is a message.
type Byte byte

// The messages. Stop is sent in both directions.
const (
	Stop           Byte = 1
	GoOn           Byte = 2
	RestartKubelet Byte = 3
	RestartRuntime Byte = 4
)

// maxClients is far more than there are pods that know the socket.
const maxClients = 64

// writeBound is for a client that does not read. Its buffer takes thousands of
// our bytes first.
const writeBound = 100 * time.Millisecond

// Server is the socket. Make it with Listen and let a goroutine call Run.
type Server struct {
	listener *net.UnixListener
	receive  func(Byte)

	mu       sync.Mutex
	clients  map[*net.UnixConn]bool
	stopping bool
}

// Listen opens the socket, for root alone. receive is called with each byte; a
// client's next byte waits until it returns, other clients' do not.
func Listen(path string, receive func(Byte)) (*Server, error) {
	l, err := unixsocket.Listen(path, unixsocket.ForRoot)
	if err != nil {
		return nil, err
	}
	return &Server{listener: l, receive: receive, clients: map[*net.UnixConn]bool{}}, nil
}

// Run serves until Close is called, and reports errors of the socket to log.
func (s *Server) Run(log unixsocket.Log) { unixsocket.Serve(s.listener, maxClients, log, s.serve) }

// Close ends Run and removes the socket.
func (s *Server) Close() error { return s.listener.Close() }

func (s *Server) enter(c *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[c] = true
	if s.stopping { // a client that comes late is told as well
		tell(c)
	}
}

func (s *Server) leave(c *net.UnixConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
}

func (s *Server) serve(c *net.UnixConn) {
	s.enter(c)
	defer s.leave(c)
	var buf [64]byte
	for {
		n, err := c.Read(buf[:])
		for _, b := range buf[:n] {
			s.receive(Byte(b))
		}
		if err != nil {
			return
		}
	}
}

// Announce tells all clients that the node is being stopped.
func (s *Server) Announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for c := range s.clients {
		tell(c)
	}
}

func tell(c *net.UnixConn) {
	c.SetWriteDeadline(time.Now().Add(writeBound))
	c.Write([]byte{byte(Stop)}) // whoever does not read does not hear
}
