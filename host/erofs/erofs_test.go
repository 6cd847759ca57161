package erofs

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kios/test/lab"
)

var lz4 = Options{Compression: "lz4hc,12", Cluster: 65536}

func needTools(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("mkfs.erofs"); err != nil {
		t.Skip("mkfs.erofs is not installed (apt-get install erofs-utils)")
	}
}

// exampleTree makes a tree; the order in which its files are made is given so
// that tests can show that it does not matter.
func exampleTree(t *testing.T, order ...string) string {
	t.Helper()
	dir := t.TempDir()
	text := strings.Repeat("compress me ", 20000)
	files := map[string]func() error{
		"text": func() error { return os.WriteFile(filepath.Join(dir, "bin/text"), []byte(text), 0o555) },
		"suid": func() error {
			path := filepath.Join(dir, "bin/suid")
			return errors.Join(os.WriteFile(path, []byte("x"), 0o755), os.Chmod(path, 0o755|fs.ModeSetuid))
		},
		"space": func() error { return os.WriteFile(filepath.Join(dir, "a b"), []byte("hello"), 0o600) },
		"link":  func() error { return os.Symlink("text", filepath.Join(dir, "bin/link")) },
		"root":  func() error { return os.Mkdir(filepath.Join(dir, "root"), 0o700) },
	}
	lab.Must(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	for _, name := range order {
		lab.Must(t, files[name]())
	}
	lab.Must(t, os.Chmod(dir, 0o755))
	return dir
}

func makeImage(t *testing.T, tree string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "root.erofs")
	lab.Must(t, Make(context.Background(), tree, out, lz4))
	return out
}

func TestMakeAndList(t *testing.T) {
	needTools(t)
	image := makeImage(t, exampleTree(t, "text", "suid", "space", "link", "root"))
	dir := t.TempDir()
	got, err := List(context.Background(), image, dir, Tools{})
	lab.Must(t, err)
	want := []Entry{
		{Path: "/", Mode: fs.ModeDir | 0o755},
		{Path: "/a b", Mode: 0o600, Size: 5},
		{Path: "/bin", Mode: fs.ModeDir | 0o755},
		{Path: "/bin/link", Mode: fs.ModeSymlink | 0o777, Size: 4, Target: "text"},
		{Path: "/bin/suid", Mode: fs.ModeSetuid | 0o755, Size: 1},
		{Path: "/bin/text", Mode: 0o555, Size: 240000},
		{Path: "/root", Mode: fs.ModeDir | 0o700},
	}
	for i := range got {
		if got[i].Mode.IsDir() {
			got[i].Size = 0
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Entry{}, "OnDisk")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if text := got[5]; text.OnDisk == 0 || text.OnDisk > 8192 {
		t.Errorf("%s takes %d bytes: it was not compressed", text.Path, text.OnDisk)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a b")); string(b) != "hello" {
		t.Errorf("extracted %q, %v", b, err)
	}
}

func TestMakeIsReproducible(t *testing.T) {
	needTools(t)
	one, err := os.ReadFile(makeImage(t, exampleTree(t, "text", "suid", "space", "link", "root")))
	lab.Must(t, err)
	two, err := os.ReadFile(makeImage(t, exampleTree(t, "root", "space", "link", "suid", "text")))
	lab.Must(t, err)
	if !bytes.Equal(one, two) {
		t.Error("two images of the same tree differ")
	}
}

func TestMakeReplaces(t *testing.T) {
	needTools(t)
	tree := exampleTree(t, "text")
	out := filepath.Join(t.TempDir(), "root.erofs")
	lab.Must(t, os.WriteFile(out, make([]byte, 1<<20), 0o600))
	lab.Must(t, Make(context.Background(), tree, out, lz4))
	if info, _ := os.Stat(out); info.Size() > 1<<17 {
		t.Errorf("image has %d bytes: the old file was not replaced", info.Size())
	}
}

func TestErrors(t *testing.T) {
	needTools(t)
	ctx := context.Background()
	tree := exampleTree(t, "text")
	image := makeImage(t, tree)
	cut := filepath.Join(t.TempDir(), "cut.erofs")
	os.WriteFile(cut, make([]byte, 5000), 0o600)
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"no source", Make(ctx, "/does/not/exist", image, lz4), "/does/not/exist is not a directory"},
		{"compressor", Make(ctx, tree, image, Options{Compression: "foo"}), "mkfs.erofs: erofs: Cannot find a valid compressor foo"},
		{"no image", Extract(ctx, "/does/not/exist", t.TempDir(), Tools{}), "/does/not/exist: no such file"},
		{"not EROFS", Extract(ctx, cut, t.TempDir(), Tools{}), "fsck.erofs: erofs: cannot find valid erofs superblock"},
		{"no tool", Make(ctx, tree, image, Options{Tools: Tools{Mkfs: []string{"/no/such/mkfs"}}}), "/no/such/mkfs"},
	}
	for _, tt := range tests {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one with %q", tt.name, tt.err, tt.want)
		}
	}
}

func TestParseStatBadInput(t *testing.T) {
	for _, out := range []string{
		"",
		"Size: 1  On-disk size: 1  regular file\n",
		"Size: 1  On-disk size: 1  door file\nUid: 0   Gid: 0  Access: 0755/rwxr-xr-x\n",
		"Size: 99999999999999999999  On-disk size: 1  regular file\nUid: 0   Gid: 0  Access: 0755/rwxr-xr-x\n",
	} {
		if e, err := parseStat(out); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", out, e)
		}
	}
}
