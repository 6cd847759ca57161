package watch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestUntil(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a", "b", "file")
	looks := make(chan bool, 100)
	done := func() bool {
		_, err := os.Stat(file)
		looks <- err == nil
		return err == nil
	}
	ended := make(chan bool)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() { ended <- Until(ctx, func() []string { return []string{file} }, done, t.Logf) }()
	if <-looks {
		t.Fatal("the file is there before it was written")
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	<-looks // the directory: it has been watched from then on
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if !<-ended {
		t.Error("the file was not noticed")
	}
}

func TestUntilEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if Until(ctx, func() []string { return []string{"/no/such/file"} }, func() bool { return false }, t.Logf) {
		t.Error("Until = true")
	}
}
