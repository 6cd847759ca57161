package kmsg

import (
	"bytes"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"kios/internal/consoleline"

	"github.com/google/go-cmp/cmp"
)

func TestLog(t *testing.T) {
	var out bytes.Buffer
	log := New(&out)
	log.Error("a %d", 1)
	log.Warn("b\n")
	log.Notice("two\nlines")
	log.Info("colour \x1b[31m\ttab")
	log.Error("two\nlines")
	log.Notice("kubelet ready\x00")
	log.NoticeLine(consoleline.Line{Kind: consoleline.Ready, Name: "kubelet"})
	log.InfoLine(consoleline.Line{Kind: consoleline.Step, Name: "x", Took: 12 * time.Millisecond})
	want := "<3>kios: error: a 1\n<4>kios: warning: b\n<5>kios: two\n<5>kios: lines\n<6>kios: colour [31m tab\n" +
		"<3>kios: error: two\n<3>kios: error: lines\n<5>kios: note: kubelet ready\n<5>kios: kubelet ready\n<6>kios: step x 12 ms\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestSetWriter(t *testing.T) {
	var before, after bytes.Buffer
	log := New(&before)
	log.Notice("a")
	log.SetWriter(&after)
	log.Notice("b")
	if before.String() != "<5>kios: a\n" || after.String() != "<5>kios: b\n" {
		t.Errorf("before %q, after %q", before.String(), after.String())
	}
}

// TestLongest holds that no record reaches the kernel's limit.
func TestLongest(t *testing.T) {
	var out bytes.Buffer
	log := New(&out)
	long := strings.Repeat("\u2603", 5000)
	log.Warn("%s", long)
	log.NoticeLine(consoleline.Line{Kind: consoleline.Imported, Name: strings.Repeat("\xff", 5000)})
	for record := range strings.Lines(out.String()) {
		if len(record) > 950 {
			t.Errorf("a record of %d bytes", len(record))
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
	var said []string
	if err := Copy(&out, &in, func(text string) { said = append(said, text) }); err != io.EOF {
		t.Errorf("Copy = %v, want EOF", err)
	}
	want := "[    5.140900] info    NET: Registered\n" +
		"(records were lost here: the kernel wrote faster than they could be read)\n" +
		"[   10.000001] notice  kios: ready\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"NET: Registered"}, said); diff != "" { // the other one is of a program
		t.Errorf("the kernel said (-want +got):\n%s", diff)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n"))
	f.Add([]byte(";"))
	f.Fuzz(func(t *testing.T, record []byte) {
		if r, ok := parse(record); ok && strings.Count(r.line(), "\n") > 1 {
			t.Errorf("the line of %q is %q, more than one", record, r.line())
		}
	})
}
