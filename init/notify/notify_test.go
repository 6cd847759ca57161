package notify

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

func TestParse(t *testing.T) {
	tests := []struct {
		datagram string
		want     Message
		known    bool
		err      string
	}{
		{"READY=1", Message{Kind: Ready}, true, ""},
		{"READY=1\nSTATUS=fine\n", Message{Kind: Ready}, true, ""},
		{"READY=0", Message{}, false, ""},
		{"STOPPING=1", Message{}, false, ""},
		{"WATCHDOG=1", Message{Alive: true}, true, ""},
		{"WATCHDOG=1\nREADY=1", Message{Kind: Ready, Alive: true}, true, ""},
		{"WATCHDOG=trigger", Message{}, false, ""},
		{"", Message{}, false, ""},
		{"nonsense\n=\n==", Message{}, false, ""},
		{
			"X_KIOS_EVENT=container-started\nX_KIOS_NAMESPACE=default\nX_KIOS_POD=web\nX_KIOS_CONTAINER=app",
			Message{Kind: ContainerStarted, Namespace: "default", Pod: "web", Container: "app"}, true, "",
		},
		{"X_KIOS_EVENT=container-exited\nX_KIOS_EXIT=137", Message{Kind: ContainerExited, Exit: 137}, true, ""},
		{"X_KIOS_EVENT=image-imported\nX_KIOS_ARCHIVE=a.tar\nX_KIOS_MS=120", Message{Kind: ImageImported, Archive: "a.tar", Took: 120 * time.Millisecond}, true, ""},
		{"X_KIOS_EVENT=image-failed\nX_KIOS_ERROR=bad\x1b[2Jtar", Message{Kind: ImageFailed, Error: "bad[2Jtar"}, true, ""},
		{"X_KIOS_EVENT=credential-providers", Message{Kind: Providers}, true, ""},
		{"X_KIOS_EVENT=joining\nX_KIOS_CLUSTER=https://10.0.0.1:6443", Message{Kind: Joining, Cluster: "https://10.0.0.1:6443"}, true, ""},
		{"X_KIOS_EVENT=shutdown-grace\nX_KIOS_MS=30000", Message{Kind: ShutdownGrace, Took: 30 * time.Second}, true, ""},
		{"X_KIOS_EVENT=shutdown-grace\nX_KIOS_MS=2000000000", Message{Kind: ShutdownGrace, Took: 24 * time.Hour}, true, ""},
		{"X_KIOS_EVENT=party", Message{}, false, "X_KIOS_EVENT=party is not known"},
		{"X_KIOS_EVENT=container-exited\nX_KIOS_EXIT=-1", Message{}, false, "X_KIOS_EXIT=-1 is not a number"},
		{"X_KIOS_EVENT=image-imported\nX_KIOS_MS=99999999999", Message{}, false, "is not a number"},
	}
	for _, tt := range tests {
		got, known, err := Parse([]byte(tt.datagram))
		if known != tt.known || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("Parse(%q) = %v, %v, want %v, %q", tt.datagram, known, err, tt.known, tt.err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.datagram, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("READY=1"))
	f.Add([]byte("X_KIOS_EVENT=image-failed\nX_KIOS_ARCHIVE=a\nX_KIOS_ERROR=b\nX_KIOS_MS=1\nX_KIOS_EXIT=2"))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		m, _, _ := Parse(datagram)
		for _, s := range []string{m.Namespace, m.Pod, m.Container, m.Archive, m.Error, m.Cluster} {
			if len(s) > maxError || strings.ContainsAny(s, "\n\x1b\x00") {
				t.Errorf("%q of %q is not fit to be logged", s, datagram)
			}
		}
		if m.Exit < 0 || m.Took < 0 {
			t.Errorf("negative number in %+v", m)
		}
	})
}

// run starts a server that knows this process as "me", if known, and returns
// a connection to it and what it receives or refuses.
func run(t *testing.T, known bool) (*net.UnixConn, chan string) {
	t.Helper()
	s, events := listen(t, known)
	go s.Run(t.Logf)
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.path, Net: "unixgram"})
	lab.Must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn, events
}

func listen(t *testing.T, known bool) (*Server, chan string) {
	t.Helper()
	s, err := Listen(filepath.Join(t.TempDir(), "run", "notify"))
	lab.Must(t, err)
	events := make(chan string, 10)
	s.Sender = func(pid int) (string, bool) { return "me", known && pid == os.Getpid() }
	s.Receive = func(sender string, m Message) { events <- sender + " " + string(m.Kind) }
	s.Refuse = func(format string, args ...any) { events <- fmt.Sprintf(format, args...) }
	t.Cleanup(func() { s.Close() })
	return s, events
}

// Ping tells a server that receives from one that does not.
func TestPing(t *testing.T) {
	s, events := listen(t, false)
	if s.Ping(10 * time.Millisecond) {
		t.Error("Ping = true of a server that does not run")
	}
	go s.Run(t.Logf)
	for range 3 {
		if !s.Ping(20 * time.Second) {
			t.Error("Ping = false of a server that runs")
		}
	}
	if len(events) > 0 {
		t.Errorf("a ping is a message, too: %s", <-events)
	}
}

// A pod that removes the socket's file does not have the machine reset, nor daemons ended.
func TestFileIsBoundAgain(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root's messages are taken")
	}
	s, events := listen(t, true)
	s.look = time.Millisecond
	log := &lab.Buffer{}
	go s.Run(func(format string, args ...any) { fmt.Fprintf(log, format+"\n", args...) })
	var daemons []net.Conn
	for i, spoil := range []func() error{
		func() error { return nil },
		func() error { return os.Remove(s.path) },
		func() error { return errors.Join(os.Remove(s.path), os.WriteFile(s.path, nil, 0o600)) },
		func() error { return os.RemoveAll(filepath.Dir(s.path)) },
	} {
		lab.Must(t, spoil())
		if !s.Ping(20 * time.Second) {
			t.Fatalf("%d: Ping = false of a server that runs", i)
		}
		lab.Until(t, 20*time.Second, "the file", func() bool { return s.current().isAt(s.path) })
		conn, err := net.Dial("unixgram", s.path)
		lab.Must(t, err)
		defer conn.Close()
		daemons = append(daemons, conn)
		for _, daemon := range daemons[max(0, i-1):] { // those that were connected before, too
			_, err := daemon.Write([]byte("READY=1"))
			lab.Must(t, err)
			if got := <-events; got != "me ready" {
				t.Errorf("%d: event = %q", i, got)
			}
		}
	}
	lab.Until(t, 20*time.Second, "three lines", func() bool { return strings.Count(log.String(), "it is bound again") == 3 })
}

// Where the file cannot be bound, that is said once.
func TestFileCannotBeBound(t *testing.T) {
	s, _ := listen(t, false)
	s.look = time.Millisecond
	log := &lab.Buffer{}
	lab.Must(t, os.Remove(s.path))
	lab.Must(t, os.MkdirAll(filepath.Join(s.path, "x"), 0o700))
	go s.Run(func(format string, args ...any) { fmt.Fprintf(log, format+"\n", args...) })
	lab.Until(t, 20*time.Second, "a line", func() bool { return strings.Contains(log.String(), "are not heard") })
	if !s.Ping(20 * time.Second) {
		t.Error("Ping = false of a server that runs")
	}
	lab.Must(t, os.Remove(filepath.Join(s.path, "x")))
	lab.Until(t, 20*time.Second, "the file", func() bool { return s.current().isAt(s.path) })
	if got := strings.Count(log.String(), "are not heard"); got != 1 {
		t.Errorf("it is said %d times", got)
	}
}

func TestServer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root's messages are taken")
	}
	conn, events := run(t, true)
	conn.Write([]byte("READY=1"))
	if got, want := <-events, "me ready"; got != want {
		t.Errorf("event = %q, want %q", got, want)
	}
	conn.Write(bytes.Repeat([]byte("x"), maxDatagram+1))
	if got := <-events; !strings.Contains(got, "me sent more than 4096 bytes") {
		t.Errorf("after a long datagram: %q", got)
	}
	conn.Write([]byte("X_KIOS_EVENT=?"))
	if got := <-events; !strings.Contains(got, "me: X_KIOS_EVENT=? is not known") {
		t.Errorf("after a bad datagram: %q", got)
	}
}

func TestServerRefusesStrangers(t *testing.T) {
	conn, events := run(t, false)
	conn.Write([]byte("READY=1"))
	if got := <-events; !strings.Contains(got, "is not a daemon of this node") {
		t.Errorf("message of a stranger: %q", got)
	}
}
