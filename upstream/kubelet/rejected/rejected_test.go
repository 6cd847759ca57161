package rejected

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	first  = `{"kubelet":{"files":["/etc/kubernetes/config.yaml"],"error":"E1 no such cgroup","using":"no files","since":"2026-11-30T05:00:00Z"}}`
	second = `{"kubelet":{"files":["/etc/kubernetes/config.yaml"],"error":"E1 no such cgroup","using":"no files","since":"2026-11-30T05:00:00Z"},
		"containerd":{"files":["/etc/containerd/config.toml"],"error":"no such plugin","using":"last good files","since":"2026-11-30T06:00:00Z"}}`
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o600), os.Rename(file+".new", file)); err != nil {
		t.Fatal(err)
	}
}

// Each entry has one event, whenever it comes.
func TestEachEntryHasOneEvent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rejected.json")
	events := make(chan *corev1.Event, 10)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	teller := Teller{File: file, Node: "node-1", Say: t.Logf, Create: func(_ context.Context, e *corev1.Event) error {
		events <- e
		return nil
	}}
	write(t, file, first)
	go teller.Run(ctx)
	e := <-events
	if e.InvolvedObject.Kind != "Node" || e.InvolvedObject.Name != "node-1" || e.Reason != "ConfigurationRejected" || e.Type != "Warning" ||
		!strings.Contains(e.Message, "/etc/kubernetes/config.yaml") || !strings.Contains(e.Message, "no such cgroup") {
		t.Errorf("event = %+v", e)
	}
	write(t, file, second)
	if e := <-events; !strings.HasPrefix(e.Message, "containerd does not stay up with /etc/containerd/config.toml, so it uses last good files") {
		t.Errorf("message = %q, want one of containerd", e.Message)
	}
	write(t, file, "garbage")
	write(t, file, `{"kubelet":{"files":["/etc/kubernetes/config.yaml"],"error":"another","using":"no files","since":"2026-11-30T07:00:00Z"}}`)
	if e := <-events; !strings.Contains(e.Message, "another") {
		t.Errorf("message = %q, want the newest", e.Message)
	}
	select {
	case e := <-events:
		t.Errorf("one event too many: %+v", e)
	default:
	}
}

// An API server that does not answer hears of it later.
func TestFailureIsTriedAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rejected.json")
	write(t, file, first)
	tries := 0
	teller := Teller{File: file, Node: "node-1", Say: t.Logf, told: map[string]time.Time{}, Create: func(context.Context, *corev1.Event) error {
		tries++
		if tries == 1 {
			return errors.New("no answer")
		}
		return nil
	}}
	for want, failed := range []bool{true, false, false} {
		if got := teller.tell(context.Background()); got != failed {
			t.Errorf("try %d: failed = %v, want %v", want, got, failed)
		}
	}
	if tries != 2 {
		t.Errorf("%d tries, want 2", tries)
	}
}

func TestLongMessageIsCut(t *testing.T) {
	e := (&Teller{Node: "n"}).event("kubelet", entry{Error: strings.Repeat("x", 5000)})
	if len(e.Message) != maxMessage {
		t.Errorf("message of %d bytes", len(e.Message))
	}
}
