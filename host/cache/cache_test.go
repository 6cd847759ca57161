package cache

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"kios/test/lab"
)

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
			dir, err := Product("thing", NewKey("a"), build)
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
	if _, err := Product("thing", NewKey("a"), func(string) error { return failure }); err != failure {
		t.Errorf("Product = %v, want the error of the build", err)
	}
	left, err := filepath.Glob(filepath.Join(root, "thing-*"))
	if err != nil || len(left) != 1 || filepath.Ext(left[0]) != ".lock" {
		t.Errorf("left are %v (%v), want the lock alone", left, err)
	}
	if _, err := Product("thing", NewKey("a"), func(string) error { return nil }); err != nil {
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
