package filetree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

// list describes what is below dir, one line each: mode, path, content or target.
func list(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := ""
		switch {
		case d.Type() == fs.ModeSymlink:
			content, err = os.Readlink(path)
		case d.Type().IsRegular():
			var data []byte
			data, err = os.ReadFile(path)
			content = string(data)
		}
		fmt.Fprintln(&b, strings.TrimSpace(fmt.Sprint(info.Mode(), " ", strings.TrimPrefix(path, dir+"/"), " ", content)))
		return err
	})
	lab.Must(t, err)
	return b.String()
}

// source is a tree with each kind of entry, in which a directory is read-only.
func source(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, err := range []error{
		WriteFile(filepath.Join(dir, "closed/sub/secret"), []byte("s"), 0o600),
		WriteFile(filepath.Join(dir, "run"), []byte("#!"), 0o755),
		Symlink(filepath.Join(dir, "link"), "no/where"),
		os.Mkdir(filepath.Join(dir, "empty"), 0o700),
		os.Chmod(filepath.Join(dir, "closed"), 0o500),
	} {
		lab.Must(t, err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "closed"), 0o700) })
	return dir
}

func TestCopy(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for _, tt := range []struct {
		name  string
		modes Modes
		want  string
	}{
		{"Keep", Keep, `dr-x------ closed
drwxr-xr-x closed/sub
-rw------- closed/sub/secret s
drwx------ empty
Lrwxrwxrwx link no/where
-rwxr-xr-x run #!
`},
		{"ReadOnly", ReadOnly, `drwxr-xr-x closed
drwxr-xr-x closed/sub
-r--r--r-- closed/sub/secret s
drwxr-xr-x empty
Lrwxrwxrwx link no/where
-r--r--r-- run #!
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src, dst := source(t), t.TempDir()
			lab.Must(t, Mkdir(filepath.Join(src, "closed/sub"), 0o755))
			lab.Must(t, Copy(t.Context(), dst, src, tt.modes))
			if diff := cmp.Diff(tt.want, list(t, dst)); diff != "" {
				t.Errorf("the copy (-want +got):\n%s", diff)
			}
			os.Chmod(filepath.Join(dst, "closed"), 0o700) // so that it can be removed
		})
	}
}

func TestCopyRefuses(t *testing.T) {
	src := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(src, "socket"))
	lab.Must(t, err)
	defer l.Close()
	if err := Copy(t.Context(), t.TempDir(), src, Keep); err == nil || !strings.Contains(err.Error(), "socket is neither a file") {
		t.Errorf("Copy of a socket = %v, want an error that names it", err)
	}
	if err := Copy(t.Context(), t.TempDir(), filepath.Join(src, "none"), Keep); err == nil {
		t.Error("Copy of a missing tree succeeds")
	}
	src, dst := source(t), t.TempDir()
	lab.Must(t, WriteFile(filepath.Join(dst, "run"), nil, 0o644))
	if err := Copy(t.Context(), dst, src, Keep); err == nil || !strings.Contains(err.Error(), "file exists") {
		t.Errorf("Copy over a file = %v, want that it exists", err)
	}
	os.Chmod(filepath.Join(dst, "closed"), 0o700)
}

// A large archive takes a while to copy: Ctrl-C does not wait for it.
func TestCopyEndsWithItsContext(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	large := filepath.Join(src, "large")
	lab.WriteFile(t, large, "")
	lab.Must(t, os.Truncate(large, 4*chunk))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Copy(ctx, dst, src, Keep); !errors.Is(err, context.Canceled) {
		t.Errorf("Copy = %v, want %v", err, context.Canceled)
	}
	if info, err := os.Stat(filepath.Join(dst, "large")); err != nil || info.Size() > chunk {
		t.Errorf("it has copied %v (%v), want one chunk at most", info, err)
	}
}

func TestNothingIsReplaced(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a/b")
	lab.Must(t, Mkdir(filepath.Dir(file), 0o755))
	lab.Must(t, WriteFile(file, []byte("first"), 0o444))
	for name, err := range map[string]error{
		"WriteFile": WriteFile(file, nil, 0o644),
		"CopyFile":  CopyFile(t.Context(), file, os.DevNull, 0o644),
		"Symlink":   Symlink(file, "x"),
	} {
		if err == nil || !strings.Contains(err.Error(), "exists") {
			t.Errorf("%s over a file = %v, want that it exists", name, err)
		}
	}
	if got, want := list(t, dir), "drwxr-xr-x a\n-r--r--r-- a/b first\n"; got != want {
		t.Errorf("the tree is\n%swant\n%s", got, want)
	}
}
