package kmsg

import (
	"bytes"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLog(t *testing.T) {
	var out bytes.Buffer
	log := New(&out)
	log.Error("a %d", 1)
	log.Warn("b\n")
	log.Notice("two\nlines")
	log.Info("colour \x1b[31m\ttab")
	want := "<3>kios: a 1\n<4>kios: b\n<5>kios: two\n<5>kios: lines\n<6>kios: colour [31m tab\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestClean(t *testing.T) {
	tests := []struct {
		in    string
		limit int
		want  string
	}{
		{"plain", 10, "plain"},
		{"0123456789", 10, "0123456789"},
		{"0123456789a", 10, "0123456..."},
		{"ääääääääää", 10, "äää..."},
		{"a\x00b\rc\x7fd\u009be", 20, "abcde"},
		{"bad \xff byte", 20, "bad ? byte"},
	}
	for _, tt := range tests {
		if got := Clean(tt.in, tt.limit); got != tt.want {
			t.Errorf("Clean(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
}

// records hands out one record a call, as /dev/kmsg does; an empty one stands
// for a ring that went round.
type records []string

func (r *records) Read(p []byte) (int, error) {
	if len(*r) == 0 {
		return 0, io.EOF
	}
	next := (*r)[0]
	*r = (*r)[1:]
	if next == "" {
		return 0, syscall.EPIPE
	}
	return copy(p, next), nil
}

func TestCopy(t *testing.T) {
	var out bytes.Buffer
	in := records{
		"6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n",
		"",
		"13,340,10000001,-;kios: ready\n",
		"no record",
		"x,y,z;text\n",
	}
	if err := Copy(&out, &in); err != io.EOF {
		t.Errorf("Copy = %v, want EOF", err)
	}
	want := "[    5.140900] info    NET: Registered\n" +
		"(records were lost here: the kernel wrote faster than they could be read)\n" +
		"[   10.000001] notice  kios: ready\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func FuzzFormat(f *testing.F) {
	f.Add([]byte("6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n"))
	f.Add([]byte(";"))
	f.Fuzz(func(t *testing.T, record []byte) {
		if line := format(record); strings.Count(line, "\n") > 1 {
			t.Errorf("format(%q) = %q, more than one line", record, line)
		}
	})
}
