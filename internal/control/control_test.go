package control

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
)

func serve(t *testing.T, handle func(Request) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kios", "control")
	s, err := Listen(path, handle)
	lab.Must(t, err)
	go s.Run(t.Logf)
	t.Cleanup(func() { s.Close() })
	return path
}

func TestSend(t *testing.T) {
	var got []Request
	path := serve(t, func(r Request) error { got = append(got, r); return nil })
	for _, r := range []Request{DataPartition{"/dev/vda2"}, Hostname{"node-1"}} {
		if err := Send(t.Context(), path, r); err != nil {
			t.Fatalf("send %v: %v", r, err)
		}
	}
	if len(got) != 2 || got[0] != (DataPartition{"/dev/vda2"}) || got[1] != (Hostname{"node-1"}) {
		t.Errorf("requests = %v", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v, want mode 0600", info, err)
	}
}

func TestRefusal(t *testing.T) {
	path := serve(t, func(Request) error { return errors.New("it has one\nalready") })
	if err := Send(t.Context(), path, DataPartition{"/dev/vda2"}); err == nil || err.Error() != "it has one; already" {
		t.Errorf("error = %v", err)
	}
	if err := Send(t.Context(), path, Hostname{"two words"}); err == nil || !strings.Contains(err.Error(), "is no request") {
		t.Errorf("error = %v", err)
	}
}

// A server that hangs does not hang its client for longer than that wants.
func TestBound(t *testing.T) {
	wait := make(chan struct{})
	path := serve(t, func(Request) error { <-wait; return nil })
	defer close(wait)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Send(ctx, path, Hostname{"a"}); err == nil || !strings.Contains(err.Error(), "did not answer") {
		t.Errorf("error = %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, line := range []string{"", "reboot now", "hostname", "hostname a b", "data-partition"} {
		if r, err := parse(line); err == nil {
			t.Errorf("parse(%q) = %v, want an error", line, r)
		}
	}
}
