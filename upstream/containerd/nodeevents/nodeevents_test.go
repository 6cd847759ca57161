package nodeevents

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/google/go-cmp/cmp"
)

type records map[string]map[string]string // labels by container

func (r records) Get(_ context.Context, id string) (containers.Container, error) {
	labels, ok := r[id]
	if !ok {
		return containers.Container{}, errdefs.ErrNotFound
	}
	return containers.Container{ID: id, Labels: labels}, nil
}

func pod(kind, container string) map[string]string {
	return map[string]string{
		"io.cri-containerd.kind":       kind,
		"io.kubernetes.pod.namespace":  "default",
		"io.kubernetes.pod.name":       "hello",
		"io.kubernetes.container.name": container,
	}
}

func TestReporter(t *testing.T) {
	store := records{"c": pod("container", "web"), "s": pod("sandbox", ""), "x": {}}
	var got []string
	r := &reporter{containers: store, running: map[string]owner{}, send: func(event string, fields ...string) {
		got = append(got, event+" "+strings.Join(fields, " "))
	}}
	handle := func(v any) {
		t.Helper()
		encoded, err := typeurl.MarshalAny(v)
		if err != nil {
			t.Fatal(err)
		}
		r.handle(t.Context(), &events.Envelope{Namespace: "k8s.io", Event: encoded})
	}
	handle(&apievents.TaskStart{ContainerID: "s"})
	handle(&apievents.TaskStart{ContainerID: "x"})
	handle(&apievents.TaskStart{ContainerID: "c"})
	handle(&apievents.TaskExit{ContainerID: "c", ID: "exec-1"})
	delete(store, "c") // the record can be gone first
	handle(&apievents.TaskExit{ContainerID: "c", ID: "c", ExitStatus: 137})
	handle(&apievents.TaskExit{ContainerID: "c", ID: "c"})
	want := []string{
		"container-started NAMESPACE default POD hello CONTAINER web",
		"container-exited NAMESPACE default POD hello CONTAINER web EXIT 137",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if len(r.running) != 0 {
		t.Errorf("running = %v after the exit, want nobody", r.running)
	}
}

func TestSend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := Open(path)
	n.Send("image-failed", "ARCHIVE", "a.tar", "ERROR", "one\ntwo")
	buf := make([]byte, 4096)
	size, err := l.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	want := "X_KIOS_EVENT=image-failed\nX_KIOS_ARCHIVE=a.tar\nX_KIOS_ERROR=one two\n"
	if got := string(buf[:size]); got != want {
		t.Errorf("datagram = %q, want %q", got, want)
	}
	// Nobody reads: more than fits must be dropped, not waited for.
	for range 10_000 {
		n.Send("container-started")
	}
}

// Init binds another socket when somebody has removed the file of the one before.
func TestSendToAnotherSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	listen := func() *net.UnixConn {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	l := listen()
	n := Open(path)
	for range 2 {
		l.Close()
		n.Alive() // to nobody
		os.Remove(path)
		l = listen()
		n.Alive()
		l.SetReadDeadline(time.Now().Add(20 * time.Second))
		buf := make([]byte, 100)
		if size, err := l.Read(buf); err != nil || string(buf[:size]) != "WATCHDOG=1" {
			t.Fatalf("the socket got %q, %v", buf[:size], err)
		}
	}
}

func TestWithoutInit(t *testing.T) {
	Open("").Send("dropped")
	Open(filepath.Join(t.TempDir(), "nobody")).Send("dropped")
}
