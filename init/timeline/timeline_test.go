package timeline

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

// at returns a timeline whose clock is the variable.
func at(t *testing.T, clock *time.Duration) *Timeline {
	tl := New(filepath.Join(t.TempDir(), "boot.json"))
	tl.now = func() time.Duration { return *clock }
	return tl
}

func TestTable(t *testing.T) {
	clock := 1500 * time.Millisecond
	tl := at(t, &clock)
	tl.Add(Event{Kind: "step", Name: "cgroups"}, 12*time.Millisecond)
	clock = 2 * time.Second
	tl.Add(Event{Kind: "image", Name: "a.tar", State: "failed", Error: "no manifest"}, 0)
	want := []string{
		"       AT     TOOK  WHAT",
		"  1.500 s    12 ms  step cgroups",
		"  2.000 s           image a.tar failed: no manifest",
	}
	if diff := cmp.Diff(want, tl.Table()); diff != "" {
		t.Errorf("Table (-want +got):\n%s", diff)
	}
	clock = 5 * time.Second
	if got, want := tl.Quiet(), 3*time.Second; got != want {
		t.Errorf("Quiet = %v, want %v", got, want)
	}
}

func TestSave(t *testing.T) {
	clock := time.Second
	tl := at(t, &clock)
	tl.Add(Event{Kind: "daemon", Name: "kubelet", State: "ready"}, 0)
	lab.Must(t, tl.Save())
	text, err := os.ReadFile(tl.path)
	lab.Must(t, err)
	var got struct{ Events []Event }
	lab.Must(t, json.Unmarshal(text, &got))
	want := []Event{{Kind: "daemon", Name: "kubelet", State: "ready", AtMS: 1000}}
	if diff := cmp.Diff(want, got.Events); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	os.Remove(tl.path)
	lab.Must(t, tl.Save())
	if _, err := os.Stat(tl.path); err == nil {
		t.Error("Save wrote although nothing was new")
	}
}

func TestBounds(t *testing.T) {
	var clock time.Duration
	tl := at(t, &clock)
	for range maxEvents {
		tl.Add(Event{}, 0)
	}
	if tl.Add(Event{}, 0) {
		t.Errorf("more than %d events are kept", maxEvents)
	}
	tl = at(t, &clock)
	tl.Close()
	if tl.Add(Event{}, 0) {
		t.Error("a closed timeline takes events")
	}
}
