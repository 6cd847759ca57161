package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
)

func serve(t *testing.T, handle func(string) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kios", "control")
	s, err := Listen(path, handle)
	lab.Must(t, err)
	go s.Run(t.Logf)
	t.Cleanup(func() { s.Close() })
	return path
}

func TestSend(t *testing.T) {
	var got []string
	path := serve(t, func(value string) error { got = append(got, value); return nil })
	want := []string{"/dev/vda2", "node-1"}
	for _, value := range want {
		if err := Send(t.Context(), path, value); err != nil {
			t.Fatalf("send %v: %v", value, err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("requests = %v, want %v", got, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v, want mode 0600", info, err)
	}
}

func TestRefusal(t *testing.T) {
	path := serve(t, func(string) error { return errors.New("it has one\nalready") })
	if err := Send(t.Context(), path, "/dev/vda2"); err != Refusal("it has one; already") {
		t.Errorf("error = %#v", err)
	}
	for _, value := range []string{"two words", "", "hostname node-1"} {
		if err := Send(t.Context(), path, value); err != Refusal("a request is one line with one word") {
			t.Errorf("send %q: %v", value, err)
		}
	}
}

// What is refused for a passing reason is told from what is refused for good.
func TestLater(t *testing.T) {
	path := serve(t, func(string) error { return fmt.Errorf("node-1: %w", Later("too soon")) })
	if err := Send(t.Context(), path, "node-1"); err != Later("node-1: too soon") {
		t.Errorf("error = %#v", err)
	}
}

// A server that hangs does not hang its client for longer than that wants.
func TestBound(t *testing.T) {
	wait := make(chan struct{})
	path := serve(t, func(string) error { <-wait; return nil })
	defer close(wait)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Send(ctx, path, "a"); err == nil || !strings.Contains(err.Error(), "did not answer") {
		t.Errorf("error = %v", err)
	}
}
