package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"kios/internal/logfile"

	"kios/test/lab"
)

const (
	thisBoot  = "6ee3f8f4-40fc-4f4a-a888-5c1f815dc0c3"
	otherBoot = "11111111-2222-3333-4444-555555555555"
)

// collector is what was printed.
type collector struct{ lab.Buffer }

// wait waits until done is true of what was printed.
func (c *collector) wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			text := c.String()
			t.Fatalf("%s: not in 20 s; printed %d bytes, the last: %q", what, len(text), text[max(0, len(text)-200):])
		}
	}
}

func (c *collector) expect(t *testing.T, want string) {
	t.Helper()
	c.wait(t, fmt.Sprintf("print %.300q", want), func() bool { return c.Len() >= len(want) })
	if got := c.String(); got != want {
		t.Fatalf("printed %.500q, want %.500q", got, want)
	}
}

// tail starts a Tail, which ends with the test or when stop is called.
func tail(t *testing.T, path string) (out *collector, stop func()) {
	t.Helper()
	out = &collector{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&Tail{Path: path, Boot: thisBoot, Out: out}).Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(stop)
	return out, stop
}

// write starts the real writer, which ends with the test or when stop is called.
func write(t *testing.T, path, boot string, limit int64, keep int) (f *logfile.File, stop func()) {
	t.Helper()
	f = logfile.New(path, limit, keep)
	f.Boot = boot
	f.Report = func(format string, args ...any) { t.Errorf(format, args...) }
	go f.Run()
	stop = sync.OnceFunc(f.Close)
	t.Cleanup(stop)
	return f, stop
}

// put has the real writer write a text, and returns when it has.
func put(t *testing.T, path, boot, text string, limit int64) {
	t.Helper()
	f, stop := write(t, path, boot, limit, 2)
	fmt.Fprint(f, text)
	stop()
}

func line(i int) string { return fmt.Sprintf("line %06d %s\n", i, strings.Repeat("x", i%97)) }

// pour writes n lines from the first on, never further ahead of what was
// printed than lead bytes, so that nothing is removed before it could be read.
func pour(t *testing.T, f *logfile.File, out *collector, first, n, lead int) (all string) {
	t.Helper()
	var b strings.Builder
	printed := out.Len()
	for i := range n {
		l := line(first + i)
		b.WriteString(l)
		out.wait(t, "keep up", func() bool { return b.Len()-(out.Len()-printed) < lead })
		f.Write([]byte(l))
	}
	return b.String()
}

// TestRotations writes through hundreds of rotations while the tail follows,
// often one or two files behind.
func TestRotations(t *testing.T) {
	for _, lead := range []int{300, 4000} {
		path := filepath.Join(t.TempDir(), "a.log")
		// Lines are written several at a time, and a file that has no room for all of them
		// stays small: of two files in a row, one may have a single line.
		f, stop := write(t, path, thisBoot, 2000, 8)
		out, _ := tail(t, path)
		want := logfile.Mark(thisBoot) + pour(t, f, out, 0, 10_000, lead)
		stop()
		out.wait(t, "print all", func() bool { return out.Len() >= len(want) })
		if got := out.String(); got != want {
			i := 0
			for i < min(len(got), len(want)) && got[i] == want[i] {
				i++
			}
			t.Errorf("%d bytes ahead: printed %d bytes, want %d; they differ at %d: %.100q, want %.100q", lead, len(got), len(want), i, got[i:], want[i:])
		}
	}
}

// TestFromTheBeginning starts, and starts again, when there are rotated files
// already, in the midst of writing.
func TestFromTheBeginning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	old, stopOld := write(t, path, otherBoot, 10_000, 4)
	fmt.Fprint(old, strings.Repeat("an earlier boot\n", 100))
	stopOld()
	f, _ := write(t, path, thisBoot, 10_000, 4)
	out, stopTail := tail(t, path)
	want := logfile.Mark(thisBoot) + pour(t, f, out, 0, 300, 500) // three files of 4 that are kept
	out.expect(t, want)
	for i := range 5 {
		stopTail()
		out, stopTail = tail(t, path)
		l := line(1000 + i)
		fmt.Fprint(f, l)
		want += l
		out.expect(t, want)
	}
}

func TestWhereABootBegins(t *testing.T) {
	mark, other := logfile.Mark(thisBoot), logfile.Mark(otherBoot)
	long := strings.Repeat(strings.Repeat("y", 99)+"\n", 1000) // 100 kB: several reads
	tests := []struct {
		name  string
		files []string // the newest first
		want  string
	}{
		{"no mark at all", []string{"c\n", "b\n", "a\n"}, "a\nb\nc\n"},
		{"at the beginning of the only file", []string{mark + "a\n"}, mark + "a\n"},
		{"after another boot", []string{other + "a\n" + mark + "b\n"}, mark + "b\n"},
		{"in an older file", []string{"d\n", "c\n", other + "a\n" + mark + "b\n"}, mark + "b\nc\nd\n"},
		{"two boots in the newest, with the older files of other boots", []string{other + "b\n" + mark + "c\n", "a\n"}, mark + "c\n"},
		{"rotated away", []string{"c\n" + long, "b\n" + long}, "b\n" + long + "c\n" + long},
		{"far from the end", []string{long + other + "a\n" + mark + long + "b\n"}, mark + long + "b\n"},
		{"this boot has written nothing yet", []string{other + "a\n", "b\n"}, ""},
		{"the last line was cut off", []string{mark + "a\n(kios: boot 123"}, mark + "a\n(kios: boot 123"},
		{"a mark in the midst of a line", []string{mark + "x" + mark + "y\n"}, mark + "x" + mark + "y\n"},
		{"an empty file", []string{"", other + "a\n" + mark + "b\n"}, mark + "b\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			for i, text := range tt.files {
				lab.Must(t, os.WriteFile(numbered(path, i), []byte(text), 0o640))
			}
			out, _ := tail(t, path)
			out.expect(t, tt.want)
			// What comes then is printed in any case: also a sign that no more
			// was on its way.
			put(t, path, thisBoot, "later\n", 1<<20)
			if text := tt.want; text != "" && !strings.HasSuffix(text, "\n") {
				tt.want += "\n" // the writer ends a line that was cut off
			}
			out.expect(t, tt.want+mark+"later\n")
		})
	}
}

// TestMarkAtEveryPlace lets the mark lie across each border of what is read at
// a time.
func TestMarkAtEveryPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	buf := make([]byte, markSize+64)
	for before := range 300 {
		text := strings.Repeat("z", before) + "\n" + logfile.Mark(thisBoot) + strings.Repeat("more\n", 50)
		lab.Must(t, os.WriteFile(path, []byte(text), 0o640))
		f, err := os.Open(path)
		lab.Must(t, err)
		m, err := lastMark(f, buf)
		f.Close()
		if want := (mark{thisBoot, int64(before + 1), int64(len(text))}); err != nil || m != want {
			t.Fatalf("lastMark = %+v, %v, want %+v", m, err, want)
		}
	}
}

func TestWaitsForTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	out, _ := tail(t, path)
	f, _ := write(t, path, thisBoot, 10_000, 3)
	fmt.Fprint(f, "one\n")
	out.expect(t, logfile.Mark(thisBoot)+"one\n")
}

func TestTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	f, _ := write(t, path, "", 1<<20, 3)
	out, _ := tail(t, path)
	fmt.Fprint(f, "a long line before\n")
	out.expect(t, "a long line before\n")
	lab.Must(t, os.Truncate(path, 0))
	fmt.Fprint(f, "after\n")
	out.expect(t, "a long line before\nafter\n")
}

// TestReplaced puts another file in the log's place while there are older ones,
// which must not be printed again.
func TestReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	for i, text := range []string{"two\n", "one\n"} {
		lab.Must(t, os.WriteFile(numbered(path, i), []byte(text), 0o640))
	}
	past := time.Now().Add(-time.Hour)
	lab.Must(t, os.Chtimes(numbered(path, 1), past, past))
	out, _ := tail(t, path)
	out.expect(t, "one\ntwo\n")
	lab.Must(t, os.WriteFile(path+".new", []byte("three\n"), 0o640))
	lab.Must(t, os.Rename(path+".new", path))
	want := "one\ntwo\n\n(kios: the log was replaced, or written faster than it could be read: lines may be missing here)\nthree\n"
	out.expect(t, want)
	f, _ := write(t, path, "", 1<<20, 3)
	fmt.Fprint(f, "four\n")
	out.expect(t, want+"four\n")
}

// TestRemoved removes the log, which its writer has open, until the next
// rotation puts a new one there.
func TestRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	f, _ := write(t, path, "", 100, 3)
	out, _ := tail(t, path)
	first, second, third := strings.Repeat("1", 59)+"\n", strings.Repeat("2", 29)+"\n", strings.Repeat("3", 59)+"\n"
	fmt.Fprint(f, first)
	out.expect(t, first)
	lab.Must(t, os.Remove(path))
	fmt.Fprint(f, second)
	out.expect(t, first+second)
	fmt.Fprint(f, third)
	out.wait(t, "print what comes after", func() bool { return strings.HasSuffix(out.String(), third) })
	if got := out.String(); !strings.HasPrefix(got, first+second) || strings.Count(got, third) != 1 {
		t.Errorf("printed %q", got)
	}
}

// TestStrangeFiles has what is no log among the older files, and then in the log's place.
func TestStrangeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	lab.Must(t, unix.Mkfifo(numbered(path, 1), 0o600))
	lab.Must(t, os.Symlink("/dev/zero", numbered(path, 2)))
	lab.Must(t, os.Mkdir(numbered(path, 3), 0o700))
	lab.Must(t, os.WriteFile(path, []byte("one\n"), 0o640))
	out, _ := tail(t, path)
	out.expect(t, "one\n")
	lab.Must(t, unix.Mkfifo(path+".new", 0o600))
	lab.Must(t, os.Rename(path+".new", path))
	lab.Must(t, os.WriteFile(path+".new", []byte("two\n"), 0o640))
	lab.Must(t, os.Rename(path+".new", path))
	out.wait(t, "print the next log", func() bool { return strings.HasSuffix(out.String(), "\ntwo\n") })
}

// A link in the log's place is not the log, whatever it leads to: that may hang.
func TestLinkIsNotFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	lab.Must(t, os.WriteFile(numbered(path, 1), []byte("one\n"), 0o640))
	lab.Must(t, os.Symlink(numbered(path, 1), path))
	f, err := openLog(numbered(path, 1))
	lab.Must(t, err)
	t.Cleanup(func() { f.Close() })
	if (&Tail{Path: path}).isNewest(f) {
		t.Error("the file that the link leads to counts as the log")
	}
}

// TestTooFast lets files be removed before they can be read: the tail says so
// and goes on with what is left.
func TestTooFast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	out := &slow{entered: make(chan struct{}), leave: make(chan struct{})}
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	put(t, path, "", "first\n", 1000)
	go func() { done <- (&Tail{Path: path, Boot: thisBoot, Out: out}).Run(ctx) }()
	<-out.entered
	for i := range 100 { // 10 rotations
		put(t, path, "", fmt.Sprintf("%099d\n", i), 1000)
	}
	close(out.leave)
	last := fmt.Sprintf("%099d\n", 99)
	out.wait(t, "print the last line", func() bool { return strings.HasSuffix(out.String(), last) })
	t.Logf("printed %d of 10,006 bytes", out.Len())
	if got := out.String(); !strings.HasPrefix(got, "first\n") || strings.Count(got, "(kios: the log was replaced, or written faster") != 1 || strings.Count(got, last) != 1 {
		t.Errorf("printed %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// slow is a collector that is held up at the first line.
type slow struct {
	collector
	once           sync.Once
	entered, leave chan struct{}
}

func (s *slow) Write(p []byte) (int, error) {
	s.once.Do(func() {
		close(s.entered)
		<-s.leave
	})
	return s.collector.Write(p)
}

func TestEndsWhenNobodyReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	lab.Must(t, os.WriteFile(path, []byte("a\n"), 0o640))
	r, w, err := os.Pipe()
	lab.Must(t, err)
	r.Close()
	if err := (&Tail{Path: path, Boot: thisBoot, Out: w}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "follow "+path+": print: ") {
		t.Errorf("Run = %v", err)
	}
}
