package metadata

import (
	"context"
	"io"
	"log"
	"net"
	"path/filepath"
	"testing"
	"time"

	"kios/pods/metadata/want"
	"kios/test/lab"
)

// containerd gets the user's proxy whatever becomes of the API server: a later run finds the
// file written, and would have no reason to start anything.
func TestContainerdStartsBeforeTheServerAnswers(t *testing.T) {
	root := t.TempDir()
	lab.WriteFile(t, filepath.Join(root, "etc/hostname"), "a\n")
	lab.WriteFile(t, filepath.Join(root, "run/x"), "")
	l, err := net.Listen("unix", filepath.Join(root, "run/system.sock"))
	lab.Must(t, err)
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := &reading{Service: &Service{Root: root, Log: log.New(io.Discard, "", 0)}, machine: &want.Machine{ID: "i-1"}, node: &want.Node{
		Environment: map[string]string{"HTTPS_PROXY": "http://proxy"},
		Join:        &want.Join{Server: "https://127.0.0.1:1", Token: "abcdef.0123456789abcdef", Discovery: "abcdef.0123456789abcdef", Insecure: true},
	}}
	ready := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- r.place(ctx, func() { close(ready) }) }()
	conn, err := l.Accept()
	lab.Must(t, err)
	got, err := io.ReadAll(conn)
	lab.Must(t, err)
	if string(got) != string([]byte{restartContainerd}) {
		t.Errorf("the first request is %x", got)
	}
	select {
	case <-ready: // a cloud is told that the machine lives, whatever the server does
	case err := <-ended:
		t.Fatalf("place ends: %v", err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("the node joined a cluster that is not there")
	}
}
