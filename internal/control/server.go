package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"kios/internal/unixsocket"
)

// readBound is how long a client may take to say what it wants.
const readBound = 5 * time.Second

// Server answers requests, one after another: what they ask for changes the
// whole node.
type Server struct {
	listener *net.UnixListener
	handle   func(value string) error
}

// Listen opens the socket, for root alone. handle carries a request out. Its error is a
// Later if the same request may be carried out another time.
func Listen(path string, handle func(value string) error) (*Server, error) {
	l, err := unixsocket.Listen(path, unixsocket.ForRoot)
	if err != nil {
		return nil, err
	}
	return &Server{l, handle}, nil
}

// Run serves until the socket is closed, and reports errors of it to log.
func (s *Server) Run(log unixsocket.Log) { unixsocket.ServeSerially(s.listener, log, s.serve) }

// Close ends Run and removes the socket.
func (s *Server) Close() error { return s.listener.Close() }

func (s *Server) serve(conn *net.UnixConn) {
	conn.SetReadDeadline(time.Now().Add(readBound))
	line, err := bufio.NewReader(io.LimitReader(conn, maxLine)).ReadString('\n')
	if err != nil {
		return // nobody to tell
	}
	value, err := parse(line)
	if err == nil {
		err = s.handle(value)
	}
	conn.SetWriteDeadline(time.Now().Add(readBound))
	fmt.Fprintln(conn, answer(err))
}

// answer is the line that says whether the request was carried out.
func answer(err error) string {
	if err == nil {
		return "ok"
	}
	kind := "error: "
	if _, later := errors.AsType[Later](err); later {
		kind = "later: "
	}
	return kind + strings.ReplaceAll(err.Error(), "\n", "; ")
}
