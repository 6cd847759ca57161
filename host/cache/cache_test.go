package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"kios/host/progress"
	"kios/test/lab"
)

var quiet = progress.New(io.Discard)

// home gives the test a cache of its own and returns its root.
func home(t *testing.T) string {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	root, err := Dir()
	lab.Must(t, err)
	return root
}

func TestProductIsBuiltOnce(t *testing.T) {
	home(t)
	var builds atomic.Int32
	build := func(dir string) error {
		builds.Add(1)
		return os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o644)
	}
	var both errgroup.Group
	for range 2 {
		both.Go(func() error {
			dir, err := Product(t.Context(), quiet, "thing", NewKey("a"), build)
			return errors.Join(err, checkFile(filepath.Join(dir, "file"), "text"))
		})
	}
	if err := both.Wait(); err != nil {
		t.Error(err)
	}
	if n := builds.Load(); n != 1 {
		t.Errorf("it was built %d times, want once", n)
	}
}

func checkFile(path, want string) error {
	text, err := os.ReadFile(path)
	if err == nil && string(text) != want {
		err = errors.New(path + " is " + string(text))
	}
	return err
}

func TestFailedProductIsAbsent(t *testing.T) {
	root := home(t)
	failure := errors.New("no space")
	if _, err := Product(t.Context(), quiet, "thing", NewKey("a"), func(string) error { return failure }); err != failure {
		t.Errorf("Product = %v, want the error of the build", err)
	}
	left, err := filepath.Glob(filepath.Join(root, "thing-*"))
	if err != nil || len(left) != 1 || filepath.Ext(left[0]) != ".lock" {
		t.Errorf("left are %v (%v), want the lock alone", left, err)
	}
	if _, err := Product(t.Context(), quiet, "thing", NewKey("a"), func(string) error { return nil }); err != nil {
		t.Errorf("the next attempt = %v", err)
	}
}

func TestKey(t *testing.T) {
	seen := map[string][]string{}
	for _, parts := range [][]string{nil, {""}, {"ab"}, {"a", "b"}, {"b", "a"}, {"a", "b", ""}} {
		key := NewKey(parts...).String()
		if other, twice := seen[key]; twice {
			t.Errorf("%q and %q have the same key", parts, other)
		}
		seen[key] = parts
	}
}

func TestAddTree(t *testing.T) {
	tree := func(files map[string]string) string {
		dir := t.TempDir()
		for name, text := range files {
			lab.WriteFile(t, filepath.Join(dir, name), text)
		}
		key := NewKey()
		lab.Must(t, key.AddTree(dir))
		return key.String()
	}
	want := tree(map[string]string{"a": "1", "d/b": "2"})
	if got := tree(map[string]string{"d/b": "2", "a": "1"}); got != want {
		t.Errorf("an equal tree has the key %s, want %s", got, want)
	}
	for _, other := range []map[string]string{{"a": "1"}, {"a": "1", "d/b": "3"}, {"a": "1", "d/c": "2"}, {"a": "1", "b": "2"}} {
		if tree(other) == want {
			t.Errorf("the tree %v has the same key", other)
		}
	}
	if err := NewKey().AddTree(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("AddTree of a missing tree succeeds")
	}
}

func TestFileSum(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	lab.WriteFile(t, path, "abc")
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2, B.1
	if got, err := FileSum(path); got != want || err != nil {
		t.Errorf("FileSum = %s, %v, want %s", got, err, want)
	}
}

// Who waits for another process says so, and can be interrupted.
func TestLockCanBeInterrupted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "thing.lock")
	unlock, err := Lock(t.Context(), quiet, file)
	lab.Must(t, err)
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	var said bytes.Buffer
	go cancel()
	if _, err := Lock(ctx, progress.New(&said), file); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock of a locked file = %v, want %v", err, context.Canceled)
	}
	if got := said.String(); !strings.Contains(got, "wait for another kios, thing") {
		t.Errorf("it says %q of its wait", got)
	}
}

func TestLockFollows(t *testing.T) {
	file := filepath.Join(t.TempDir(), "thing.lock")
	unlock, err := Lock(t.Context(), quiet, file)
	lab.Must(t, err)
	next := make(chan error, 1)
	go func() {
		unlock, err := Lock(t.Context(), quiet, file)
		if err == nil {
			unlock()
		}
		next <- err
	}()
	unlock()
	if err := <-next; err != nil {
		t.Error(err)
	}
}

// What a killed build has left goes away with the next build of any product, and what
// another process is building stays.
func TestLeftoversAreSwept(t *testing.T) {
	root := home(t)
	left, busy := filepath.Join(root, "old-1"+unfinished), filepath.Join(root, "busy-1"+unfinished)
	lab.WriteFile(t, filepath.Join(left, "work/certs/key.pem"), "secret")
	lab.WriteFile(t, filepath.Join(busy, "file"), "text")
	unlock, err := Lock(t.Context(), quiet, filepath.Join(root, "busy-1.lock"))
	lab.Must(t, err)
	defer unlock()
	_, err = Product(t.Context(), quiet, "thing", NewKey("a"), func(string) error { return nil })
	lab.Must(t, err)
	if _, err := os.Stat(left); err == nil {
		t.Error("the directory of a killed build is still there")
	}
	if _, err := os.Stat(busy); err != nil {
		t.Errorf("the directory of a running build: %v", err)
	}
}

func TestScratch(t *testing.T) {
	home(t)
	dir, remove, err := Scratch("x-")
	lab.Must(t, err)
	parent := filepath.Dir(dir)
	left := filepath.Join(parent, "x-left")
	lab.WriteFile(t, filepath.Join(left, "file"), "text")
	old := time.Now().Add(-time.Hour)
	lab.Must(t, os.Chtimes(left, old, old))
	lab.Must(t, os.Chtimes(dir, old, old))
	_, removeNext, err := Scratch("x-")
	lab.Must(t, err)
	defer removeNext()
	if _, err := os.Stat(left); err == nil {
		t.Error("the directory of a killed process is still there")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("the directory of a running process: %v", err)
	}
	remove()
	if _, err := os.Stat(dir); err == nil {
		t.Error("remove leaves it")
	}
}

func TestAddTreeFollowsALink(t *testing.T) {
	dir := t.TempDir()
	lab.WriteFile(t, filepath.Join(dir, "real/file"), "text")
	lab.Must(t, os.Symlink("real", filepath.Join(dir, "link")))
	sum := func(path string) string {
		key := NewKey()
		lab.Must(t, key.AddTree(path))
		return key.String()
	}
	if empty := NewKey().String(); sum(filepath.Join(dir, "link")) == empty || sum(filepath.Join(dir, "link")) != sum(filepath.Join(dir, "real")) {
		t.Error("a link has another key than what it leads to")
	}
}

// A user without a home directory, such as nobody, is told what to do.
func TestNoPlaceForTheCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	lab.WriteFile(t, file, "")
	t.Setenv("XDG_CACHE_HOME", file)
	for name, err := range map[string]error{
		"Scratch": func() error { _, _, err := Scratch("x-"); return err }(),
		"Product": func() error { _, err := Product(t.Context(), quiet, "thing", NewKey("a"), nil); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), "set XDG_CACHE_HOME") {
			t.Errorf("%s = %v, want an error with the remedy", name, err)
		}
	}
}
