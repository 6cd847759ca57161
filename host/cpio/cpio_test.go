package cpio

import (
	"bytes"
	"io"
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

func writeExample(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewWriter(&buf)
	for _, err := range []error{
		w.Dir("/dev", 0o755),
		w.CharDevice("dev/console", 0o600, 5, 1),
		w.File("init", 0o755, 5, strings.NewReader("hello")),
		w.Symlink("sbin", "bin"),
		w.Dir("root", 0o700),
		w.File("tmp", 0o777|fs.ModeSticky|fs.ModeSetuid, 0, strings.NewReader("")),
		w.Close(),
	} {
		lab.Must(t, err)
	}
	return buf.Bytes()
}

var exampleEntries = []Entry{
	{Name: "dev", Mode: fs.ModeDir | 0o755},
	{Name: "dev/console", Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600, Major: 5, Minor: 1},
	{Name: "init", Mode: 0o755, Size: 5},
	{Name: "sbin", Mode: fs.ModeSymlink | 0o777, Size: 3, Target: "bin"},
	{Name: "root", Mode: fs.ModeDir | 0o700},
	{Name: "tmp", Mode: 0o777 | fs.ModeSticky | fs.ModeSetuid},
}

func TestRoundTrip(t *testing.T) {
	archive := writeExample(t)
	// Two archives with zeros between them are one file system to the kernel.
	double := bytes.Join([][]byte{archive, archive}, make([]byte, 512))
	got, err := List(bytes.NewReader(double), int64(len(double)))
	lab.Must(t, err)
	want := append(exampleEntries[:6:6], exampleEntries...)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Entry{}, "Offset", "Stored")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	init := got[2]
	if s := string(archive[init.Offset : init.Offset+init.Size]); s != "hello" {
		t.Errorf("contents of init = %q", s)
	}
}

func TestCpioAgrees(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("cpio is not installed (apt-get install cpio)")
	}
	cmd := exec.Command("cpio", "-tv", "--quiet", "--numeric-uid-gid")
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Stdin = bytes.NewReader(writeExample(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	want := `drwxr-xr-x   2 0        0               0 Jan  1  1970 dev
crw-------   1 0        0          5,   1 Jan  1  1970 dev/console
-rwxr-xr-x   1 0        0               5 Jan  1  1970 init
lrwxrwxrwx   1 0        0               3 Jan  1  1970 sbin -> bin
drwx------   2 0        0               0 Jan  1  1970 root
-rwsrwxrwt   1 0        0               0 Jan  1  1970 tmp
`
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	lab.Must(t, os.MkdirAll(filepath.Join(dir, "b/c"), 0o750))
	os.WriteFile(filepath.Join(dir, "b/file"), []byte("x"), 0o640)
	os.Symlink("file", filepath.Join(dir, "b/link"))
	var buf bytes.Buffer
	w := NewWriter(&buf)
	lab.Must(t, w.Tree("extra/etc", dir))
	w.Close()
	got, err := List(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
	lab.Must(t, err)
	var names []string
	for _, e := range got {
		names = append(names, e.Mode.String()+" "+e.Name)
	}
	want := []string{"drwxr-xr-x extra/etc", "drwxr-x--- extra/etc/b", "drwxr-x--- extra/etc/b/c", "-rw-r----- extra/etc/b/file", "Lrwxrwxrwx extra/etc/b/link"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWriterRefuses(t *testing.T) {
	w := NewWriter(io.Discard)
	tests := []struct {
		err  error
		want string
	}{
		{w.Dir("/", 0o755), "cannot be an entry's name"},
		{w.Dir("a\x00b", 0o755), "cannot be an entry's name"},
		{w.File("short", 0o644, 5, strings.NewReader("abc")), "short: it has 3 bytes, not 5"},
		{w.File("big", 0o644, 1<<32, nil), "more than the format's 4 GiB"},
		{w.FileFrom("gone", 0o644, "/does/not/exist"), "add gone to cpio archive: open /does/not/exist"},
	}
	for _, tt := range tests {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("error = %v, want one with %q", tt.err, tt.want)
		}
	}
}

func TestListBadInput(t *testing.T) {
	good := writeExample(t)
	edit := func(off int, s string) []byte {
		b := bytes.Clone(good)
		copy(b[off:], s)
		return b
	}
	tests := []struct {
		name string
		in   []byte
		want string
	}{
		{"compressed", []byte("\x1f\x8b\x08 ......"), "truncated"},
		{"compressed and long", append([]byte("\x1f\x8b\x08 "), make([]byte, 200)...), "is it compressed?"},
		{"bad number", edit(6, "zzzzzzzz"), "bad number"},
		{"no name", edit(94, "00000000"), "name of 0 bytes"},
		{"long name", edit(94, "ffffffff"), "name of 4294967295 bytes"},
		{"beyond the end", edit(54, "ffffffff"), "dev: the archive is truncated"},
		{"cut in a header", good[:50], "truncated"},
	}
	for _, tt := range tests {
		_, err := List(bytes.NewReader(tt.in), int64(len(tt.in)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add(writeExample(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := List(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.Offset < 0 || e.Offset+e.Size > int64(len(b)) {
				t.Errorf("%q lies outside the archive", e.Name)
			}
		}
	})
}
