package notify

import (
	"errors"
	"io/fs"
	"net"
	"os"

	"kios/internal/unixsocket"
)

// socket is a bound socket.
type socket struct {
	conn *net.UnixConn
	self *net.UnixConn // connected to conn, whatever becomes of the file
	file fs.FileInfo
}

func bind(path string) (*socket, error) {
	conn, err := unixsocket.ListenDatagrams(path, unixsocket.ForRoot)
	if err != nil {
		return nil, err
	}
	file, err := os.Lstat(path)
	self, dialErr := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	s := &socket{conn, self, file}
	if err = errors.Join(err, dialErr); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// isAt reports whether the socket's file is at a path.
func (s *socket) isAt(path string) bool {
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(there, s.file)
}

// close is also for a socket that is nil, or bound in part.
func (s *socket) close() error {
	if s == nil {
		return nil
	}
	if s.self != nil {
		s.self.Close()
	}
	return s.conn.Close()
}
