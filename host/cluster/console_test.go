package cluster

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

func TestLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console.log")
	lab.Must(t, os.WriteFile(file, []byte("one\r\n\x1b[31mtwo\x1b[0m\r\n\r\nth"), 0o600))
	got, err := Lines(file)
	lab.Must(t, err)
	if diff := cmp.Diff([]string{"one", "two", "th"}, got); diff != "" {
		t.Errorf("Lines (-want +got):\n%s", diff)
	}
	if got, want := tail(file, 2), "\n  two\n  th"; got != want {
		t.Errorf("tail = %q, want %q", got, want)
	}
}

func TestFollow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console.log")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lines := make(chan string)
	done := make(chan error)
	go func() { done <- Follow(ctx, file, 4, func(line string) { lines <- line }) }()

	f, err := os.Create(file)
	lab.Must(t, err)
	defer f.Close()
	f.WriteString("old\none\ntw")
	if got := <-lines; got != "one" {
		t.Errorf("the first line is %q", got)
	}
	f.WriteString("o\n")
	if got := <-lines; got != "two" {
		t.Errorf("the second line is %q", got)
	}
	f.WriteString("last\n")
	cancel()
	if got := <-lines; got != "last" {
		t.Errorf("the last line is %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
