package metadata

import (
	"context"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kios/internal/control"
	"kios/internal/instance"
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

// A disk from another machine, which the firmware calls the same, leaves nothing behind: PID 1
// forgets it before the record does, and both daemons start again.
func TestOtherMachine(t *testing.T) {
	root := t.TempDir()
	lab.WriteFile(t, filepath.Join(root, "etc/x"), "")
	lab.Must(t, instance.Record{Machine: "i-1", Provider: "ec2", Files: map[string]string{}}.Save(root))
	r := &reading{Service: &Service{Root: root, Log: log.New(t.Output(), "", 0)}, machine: &want.Machine{ID: "i-2", Provider: "ec2"}, node: new(want.Node)}
	if err := r.place(t.Context(), func() {}); err == nil {
		t.Fatal("the node starts afresh though PID 1 does not know it")
	}
	if record, err := instance.Load(root); err != nil || record.Machine != "i-1" {
		t.Fatalf("the record is of %s, %v: nobody will tell PID 1", record.Machine, err)
	}

	lab.Must(t, os.MkdirAll(filepath.Join(root, "run/kios/control"), 0o755))
	var told []string
	s, err := control.Listen(filepath.Join(root, control.OtherMachine), func(who string) error { told = append(told, who); return nil })
	lab.Must(t, err)
	defer s.Close()
	go s.Run(t.Logf)
	l, err := net.Listen("unix", filepath.Join(root, "run/system.sock"))
	lab.Must(t, err)
	defer l.Close()
	requests := make(chan string, 2)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			got, _ := io.ReadAll(conn)
			requests <- string(got)
		}
	}()
	lab.Must(t, r.place(t.Context(), func() {}))
	if got := <-requests + <-requests; got != string([]byte{restartContainerd, restartKubelet}) || len(told) != 1 {
		t.Errorf("the requests are %x, and PID 1 is told %q", got, told)
	}
	lab.Must(t, r.place(t.Context(), func() {}))
	if len(told) != 1 || len(requests) > 0 {
		t.Errorf("for the same machine, PID 1 is told %q", told)
	}
}
