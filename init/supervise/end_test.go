package supervise

import (
	"slices"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
)

// Ended is told of ends that nobody asked for, with the last words.
func TestEnded(t *testing.T) {
	ends := make(chan End, 100)
	tell := func(d *Daemon) { d.Ended = func(e End) { ends <- e } }
	start(t, "fail", tell)
	e := <-ends
	if e.Status.ExitStatus() != 3 || !slices.Contains(e.Lines, "last words without a newline") {
		t.Errorf("end = %+v, want exit code 3 and the last words", e)
	}
	for len(ends) > 0 {
		<-ends
	}
}

func TestEndedIsNotToldOfRestarts(t *testing.T) {
	ends := make(chan End, 1)
	d, _, output := start(t, "idle", func(d *Daemon) { d.Ended = func(e End) { ends <- e } })
	lab.Until(t, bound, "the daemon up", func() bool { return strings.Contains(output.String(), "up\n") })
	before := d.Pid()
	d.Restart(bound)
	lab.Until(t, bound, "another process", func() bool { return d.Pid() != 0 && d.Pid() != before })
	lab.Must(t, d.Stop(bound))
	if len(ends) > 0 {
		t.Errorf("a restart and a stop count as an end: %+v", <-ends)
	}
}

// A directory that is no cgroup stands for a cgroup that the kernel does not let a
// process into.
func TestStartsWithoutItsCgroup(t *testing.T) {
	_, log, output := start(t, "idle", func(d *Daemon) { d.Cgroup = t.TempDir() })
	lab.Until(t, bound, "the daemon up", func() bool { return strings.Contains(output.String(), "up\n") })
	if !strings.Contains(log.String(), "start idle outside of its cgroup: ") {
		t.Errorf("the log says %q", log)
	}
}

// The last lines do not wait for a pipe that nobody drains.
func TestLastOfAFullPipe(t *testing.T) {
	out, err := NewOutput(&record{})
	lab.Must(t, err)
	defer out.Close()
	full := make([]byte, 1<<20)
	out.note.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := out.note.Write(full); err == nil {
		t.Fatalf("a pipe took %d bytes", n)
	}
	done := make(chan []string)
	go func() { done <- out.Last("note") }()
	select {
	case <-done:
	case <-time.After(bound):
		t.Fatal("Last waits for a pipe that nobody drains")
	}
}

// Abort is for daemons that hang: it is reported as an end like any other, and one that
// does not listen is killed.
func TestAbort(t *testing.T) {
	for _, tt := range []struct {
		what  string
		bound time.Duration
		want  string
	}{{"idle", bound, "exit code 2"}, {"stubborn", 100 * time.Millisecond, "killed by SIGKILL"}} {
		t.Run(tt.what, func(t *testing.T) {
			ends := make(chan End, 1)
			d, log, output := start(t, tt.what, func(d *Daemon) { d.Ended = func(e End) { ends <- e } })
			lab.Until(t, bound, "the daemon up", func() bool { return strings.Contains(output.String(), "up\n") })
			d.Abort(tt.bound)
			if e := <-ends; !e.Hung || !strings.Contains(log.String(), tt.want) {
				t.Errorf("end = %+v; the log says %q, want %q", e, log, tt.want)
			}
		})
	}
}
