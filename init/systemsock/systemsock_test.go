package systemsock

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

// start returns the socket's path and what arrives there.
func start(t *testing.T) (*Server, string, chan Byte) {
	t.Helper()
	path, got := filepath.Join(t.TempDir(), "run", "s"), make(chan Byte, 100)
	s, err := Listen(path, func(b Byte) { got <- b })
	lab.Must(t, err)
	go s.Run(t.Logf)
	t.Cleanup(func() { s.Close() })
	return s, path, got
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	lab.Must(t, err)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func TestBytes(t *testing.T) {
	_, path, got := start(t)
	dial(t, path) // a silent client, as the kubelet of the first kiOS was
	c := dial(t, path)
	c.Write([]byte{3, 4, 1}) // several bytes in one write
	c.Write([]byte{2})
	var all []Byte
	for range 4 {
		all = append(all, <-got)
	}
	if diff := cmp.Diff([]Byte{RestartKubelet, RestartRuntime, Stop, GoOn}, all); diff != "" {
		t.Errorf("bytes (-want +got):\n%s", diff)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has the mode %v, %v", info.Mode(), err)
	}
}

func TestAnnounce(t *testing.T) {
	s, path, got := start(t)
	c := dial(t, path)
	c.Write([]byte{9}) // the server knows the client once it has read this
	<-got
	s.Announce()
	for _, c := range []net.Conn{c, dial(t, path)} {
		var b [1]byte
		if _, err := io.ReadFull(c, b[:]); err != nil || Byte(b[0]) != Stop {
			t.Errorf("the announcement is %v, %v", b, err)
		}
	}
}

func TestRoom(t *testing.T) {
	_, path, got := start(t)
	for range maxClients {
		c := dial(t, path)
		c.Write([]byte{9})
		<-got
	}
	if _, err := dial(t, path).Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("one client too many: %v, want %v", err, io.EOF)
	}
}
