package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// readBound is how long a client may take to say what it wants.
const readBound = 5 * time.Second

// Server answers requests, one after another: what they ask for changes the
// whole node.
type Server struct {
	listener *net.UnixListener
	handle   func(Request) error
}

// Listen opens the socket, for root alone. handle carries a request out.
func Listen(path string, handle func(Request) error) (*Server, error) {
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
	return &Server{l, handle}, nil
}

// Run serves until the socket is closed.
func (s *Server) Run() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.serve(conn)
	}
}

// Close ends Run and removes the socket.
func (s *Server) Close() error { return s.listener.Close() }

func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(readBound))
	line, err := bufio.NewReader(io.LimitReader(conn, maxLine)).ReadString('\n')
	if err != nil {
		return // nobody to tell
	}
	r, err := parse(line)
	if err == nil {
		err = s.handle(r)
	}
	conn.SetWriteDeadline(time.Now().Add(readBound))
	if err != nil {
		fmt.Fprintln(conn, "error: "+strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	fmt.Fprintln(conn, "ok")
}
