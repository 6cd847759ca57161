package filewatch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kios/test/lab"
)

func TestFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc", "kios")
	file := filepath.Join(dir, "network.yaml")
	lab.Must(t, os.Mkdir(filepath.Dir(dir), 0o755))
	changes, err := File(t.Context(), file)
	lab.Must(t, err)
	expect := func(what string) {
		t.Helper()
		select {
		case <-changes:
		case <-time.After(5 * time.Second):
			t.Errorf("nothing was told about %s", what)
		}
		for len(changes) > 0 {
			<-changes
		}
	}
	lab.Must(t, os.Mkdir(dir, 0o755))
	expect("the directory")
	lab.Must(t, os.WriteFile(file, []byte("a"), 0o644))
	expect("the file")
	lab.Must(t, os.WriteFile(file+".new", []byte("b"), 0o644))
	lab.Must(t, os.Rename(file+".new", file))
	expect("its replacement")
	lab.Must(t, os.Remove(file))
	expect("its end")
	lab.Must(t, os.RemoveAll(dir))
	expect("the directory's end")
	lab.Must(t, os.Mkdir(dir, 0o755))
	expect("the directory again")
	lab.Must(t, os.WriteFile(file, []byte("c"), 0o644))
	expect("the file again")
}

func TestFileEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	changes, err := File(ctx, filepath.Join(t.TempDir(), "kios", "network.yaml"))
	lab.Must(t, err)
	cancel()
	select {
	case _, open := <-changes:
		if open {
			t.Error("a change is told, but there was none")
		}
	case <-time.After(5 * time.Second):
		t.Error("the channel is not closed")
	}
}

// An overflow has no name and counts as a change of everything.
func TestLost(t *testing.T) {
	overflow := []byte("\xff\xff\xff\xff\x00\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	if got := events(overflow); len(got) != 1 || !got[0].Lost {
		t.Errorf("events of an overflow = %v", got)
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00modules.yaml\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) { events(raw) })
}
