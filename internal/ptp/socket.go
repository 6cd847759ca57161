package ptp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"kios/internal/unixsocket"
)

// Server gives a clock to whoever may connect to its socket: root.
type Server struct {
	listener *net.UnixListener
	device   string
	name     string
}

// Listen opens the socket for the clock called name on device.
func Listen(socket, device, name string) (*Server, error) {
	l, err := unixsocket.Listen(socket, unixsocket.ForRoot)
	if err != nil {
		return nil, err
	}
	return &Server{l, device, name}, nil
}

// Run serves until Close. A clock that cannot be opened is reported to log; the
// client sees the connection end.
func (s *Server) Run(log unixsocket.Log) {
	unixsocket.ServeSerially(s.listener, log, func(conn *net.UnixConn) {
		if err := s.give(conn); err != nil {
			log("give away the hypervisor's clock: %v", err)
		}
	})
}

// Close ends Run and removes the socket.
func (s *Server) Close() error { return s.listener.Close() }

func (s *Server) give(conn *net.UnixConn) error {
	// Read-only: the clock is the host's, and the client must not try to set it.
	fd, err := unix.Open(s.device, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.device, err)
	}
	defer unix.Close(fd)
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _, err = conn.WriteMsgUnix([]byte(s.name), unix.UnixRights(fd), nil)
	return err
}

// receive returns what give sent.
func receive(conn *net.UnixConn) (name string, file *os.File, err error) {
	text, space := make([]byte, 64), make([]byte, unix.CmsgSpace(4))
	n, spaceUsed, _, _, err := conn.ReadMsgUnix(text, space)
	if err != nil {
		return "", nil, err
	}
	messages, err := unix.ParseSocketControlMessage(space[:spaceUsed])
	if err != nil {
		return "", nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err == nil && len(fds) == 1 {
			unix.CloseOnExec(fds[0])
			return string(text[:n]), os.NewFile(uintptr(fds[0]), "ptp"), nil
		}
	}
	return "", nil, errors.New("it gave none (the kernel's log tells why)")
}
