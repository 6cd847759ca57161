package unixsocket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// log collects what is logged.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) print(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.text, format+"\n", args...)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func listen(t *testing.T) (*net.UnixListener, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "s")
	l, err := Listen(path, ForRoot)
	lab.Must(t, err)
	t.Cleanup(func() { l.Close() })
	return l, path
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	lab.Must(t, err)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// start runs serve, and fails if it does not end with the socket.
func start(t *testing.T, socket io.Closer, serve func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); serve() }()
	t.Cleanup(func() {
		socket.Close()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("it does not end with its socket")
		}
	})
}

// greet says a byte and waits for the client to go.
func greet(c *net.UnixConn) {
	c.Write([]byte("!"))
	io.Copy(io.Discard, c)
}

func wantByte(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("the client is not served: %v", err)
	}
}

// broken fails some times before it does what the real one does.
type broken struct {
	*net.UnixListener
	*net.UnixConn
	left int
}

func (b *broken) fail() error {
	if b.left == 0 {
		return nil
	}
	b.left--
	return &net.OpError{Op: "accept", Err: unix.EMFILE}
}

func (b *broken) AcceptUnix() (*net.UnixConn, error) {
	if err := b.fail(); err != nil {
		return nil, err
	}
	return b.UnixListener.AcceptUnix()
}

func (b *broken) ReadMsgUnix(buf, oob []byte) (n, oobn, flags int, addr *net.UnixAddr, err error) {
	if err := b.fail(); err != nil {
		return 0, 0, 0, nil, err
	}
	return b.UnixConn.ReadMsgUnix(buf, oob)
}

func wantOneComplaint(t *testing.T, said *log) {
	t.Helper()
	if n := strings.Count(said.String(), unix.EMFILE.Error()); n != 1 {
		t.Errorf("logged %q, want one complaint", said)
	}
}

func TestServeSurvivesPassingErrors(t *testing.T) {
	l, path := listen(t)
	var said log
	start(t, l, func() { serve(&broken{UnixListener: l, left: 3}, 1, said.print, greet) })
	wantByte(t, dial(t, path))
	wantOneComplaint(t, &said)
}

func TestReceiveSurvivesPassingErrors(t *testing.T) {
	server, client := datagramPair(t)
	var said log
	got := make(chan string, 1)
	start(t, server, func() {
		receive(&broken{UnixConn: server, left: 3}, 100, said.print, func(d Datagram) { got <- string(d.Data) })
	})
	client.Write([]byte("a"))
	if text := <-got; text != "a" {
		t.Errorf("received %q", text)
	}
	wantOneComplaint(t, &said)
}

func TestServeBoundsClients(t *testing.T) {
	l, path := listen(t)
	start(t, l, func() { Serve(l, 2, t.Logf, greet) })
	first, second := dial(t, path), dial(t, path)
	wantByte(t, first)
	wantByte(t, second)
	if _, err := dial(t, path).Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("one client too many: %v, want %v", err, io.EOF)
	}
	first.Close()
	for { // until the server has noticed
		if _, err := dial(t, path).Read(make([]byte, 1)); err == nil {
			return
		} else if err != io.EOF {
			t.Fatal(err)
		}
	}
}

func TestServeSerially(t *testing.T) {
	l, path := listen(t)
	start(t, l, func() { ServeSerially(l, t.Logf, greet) })
	first, second := dial(t, path), dial(t, path)
	wantByte(t, first)
	second.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a second client at the same time: %v", err)
	}
	second.SetReadDeadline(time.Now().Add(time.Minute))
	first.Close()
	wantByte(t, second)
}

// A panic ends the connection, and neither the process nor the server.
func TestPanicOfAHandler(t *testing.T) {
	panicOnce := func() func(*net.UnixConn) {
		var calls int
		return func(c *net.UnixConn) {
			if calls++; calls == 1 {
				panic("of the handler")
			}
			greet(c)
		}
	}
	for name, run := range map[string]func(*net.UnixListener, Log){
		"Serve":         func(l *net.UnixListener, log Log) { Serve(l, 1, log, panicOnce()) },
		"ServeSerially": func(l *net.UnixListener, log Log) { ServeSerially(l, log, panicOnce()) },
	} {
		t.Run(name, func(t *testing.T) {
			l, path := listen(t)
			var said log
			start(t, l, func() { run(l, said.print) })
			if _, err := dial(t, path).Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the client of a panic: %v, want %v", err, io.EOF)
			}
			wantByte(t, dial(t, path))
			if text := said.String(); !strings.Contains(text, "panic: of the handler\n") || !strings.Contains(text, "TestPanicOfAHandler") {
				t.Errorf("logged %q, want the panic and its stack", text)
			}
		})
	}
}

func TestPanicOfAReceiver(t *testing.T) {
	server, client := datagramPair(t)
	var said log
	got := make(chan string, 1)
	start(t, server, func() {
		Receive(server, 100, said.print, func(d Datagram) {
			if string(d.Data) == "bad" {
				panic("of the receiver")
			}
			got <- string(d.Data)
		})
	})
	client.Write([]byte("bad"))
	client.Write([]byte("good"))
	if text := <-got; text != "good" {
		t.Errorf("received %q", text)
	}
	if !strings.Contains(said.String(), "panic: of the receiver\n") {
		t.Errorf("logged %q, want the panic", &said)
	}
}

func datagramPair(t *testing.T) (server, client *net.UnixConn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "s")
	server, err := ListenDatagrams(path, ForRoot)
	lab.Must(t, err)
	client, err = net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	lab.Must(t, err)
	t.Cleanup(func() { server.Close(); client.Close() })
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != ForRoot {
		t.Errorf("socket: %v, %v", info, err)
	}
	return server, client
}

func TestDatagram(t *testing.T) {
	server, client := datagramPair(t)
	type seen struct {
		text      string
		pid       int32
		truncated bool
	}
	got := make(chan seen, 1)
	start(t, server, func() {
		Receive(server, 4, t.Logf, func(d Datagram) { got <- seen{string(d.Data), d.Sender.Pid, d.Truncated} })
	})
	for text, want := range map[string]seen{
		"four":  {"four", int32(os.Getpid()), false},
		"fives": {"five", int32(os.Getpid()), true},
	} {
		client.Write([]byte(text))
		if g := <-got; g != want {
			t.Errorf("%q is received as %v, want %v", text, g, want)
		}
	}
}

// Files that come along are closed.
func TestDatagramWithFile(t *testing.T) {
	server, client := datagramPair(t)
	done := make(chan struct{}, 1)
	start(t, server, func() { Receive(server, 4, t.Logf, func(Datagram) { done <- struct{}{} }) })
	r, w, err := os.Pipe()
	lab.Must(t, err)
	defer r.Close()
	rights := unix.UnixRights(int(w.Fd()))
	lab.Must(t, control(client, func(fd int) error { return unix.Sendmsg(fd, []byte("x"), rights, nil, 0) }))
	w.Close()
	<-done
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the pipe has a writer still: %v", err)
	}
}

func TestPeer(t *testing.T) {
	l, path := listen(t)
	got := make(chan *unix.Ucred, 1)
	start(t, l, func() {
		Serve(l, 1, t.Logf, func(c *net.UnixConn) {
			cred, err := Peer(c)
			if err != nil {
				t.Error(err)
			}
			got <- cred
		})
	})
	dial(t, path)
	if c := <-got; c == nil || int(c.Pid) != os.Getpid() || int(c.Uid) != os.Getuid() {
		t.Errorf("peer = %v, want this process", c)
	}
}
