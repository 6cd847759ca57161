package supervise

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kios/init/reap"
	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// The test binary is the daemon too: a VM for tests has no shell.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "daemon" {
		daemon(os.Args[2])
	}
	os.Exit(m.Run())
}

func daemon(what string) {
	switch what {
	case "fail":
		for i := range 20 {
			fmt.Printf("line %d\n", i)
		}
		fmt.Fprint(os.Stderr, "last words without a newline")
		os.Exit(3)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, syscall.SIGABRT)
	case "flood":
		for range 64 {
			fmt.Println(strings.Repeat("x", 64<<10))
		}
	}
	fmt.Println("up")
	time.Sleep(time.Hour)
}

// record is a Logger and an output that can be waited on.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
	size int
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.size += len(p)
	r.text.Write(p[max(0, len(p)-4096):]) // enough for what is looked for
	return len(p), nil
}

func (r *record) add(format string, args []any)     { fmt.Fprintf(r, format+"\n", args...) }
func (r *record) Error(format string, args ...any)  { r.add(format, args) }
func (r *record) Notice(format string, args ...any) { r.add(format, args) }
func (r *record) Info(format string, args ...any)   { r.add(format, args) }

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// bound is for a test that hangs.
const bound = 20 * time.Second

// start starts a daemon that does what is asked; edit changes it before that.
func start(t *testing.T, what string, edit ...func(*Daemon)) (d *Daemon, log, output *record) {
	t.Helper()
	log, output = &record{}, &record{}
	out, err := NewOutput(output)
	lab.Must(t, err)
	go out.Drain()
	r := reap.New()
	go r.Run()
	d = &Daemon{
		Name: what, Output: out, Reaper: r, Log: log,
		Prepare: func() ([]string, []string) { return []string{"/proc/self/exe", "daemon", what}, os.Environ() },
	}
	for _, f := range edit {
		f(d)
	}
	lab.Must(t, d.Start())
	go d.Run()
	t.Cleanup(func() { d.Stop(time.Second); out.Close(); r.Close() })
	return d, log, output
}

func TestDelay(t *testing.T) {
	var got []time.Duration
	for n := range 10 {
		got = append(got, delay(n+1)/time.Millisecond)
	}
	want := []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("delays in ms (-want +got):\n%s", diff)
	}
	if got := delay(1 << 40); got != maxDelay {
		t.Errorf("delay(1<<40) = %v, want %v", got, maxDelay)
	}
}

func TestRestartsAndReports(t *testing.T) {
	d, log, output := start(t, "fail")
	lab.Until(t, bound, "two restarts", func() bool { return d.Restarts() >= 2 })
	for _, want := range []string{
		"fail| line 19\n", "fail| last words without a newline",
		"exit code 3; restart 1 in 100ms", "exit code 3; restart 2 in 200ms",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), "fail| line 9\n") {
		t.Errorf("more than the last lines are reported:\n%s", log)
	}
	if !strings.Contains(output.String(), "line 0\n") {
		t.Errorf("output lacks its first line: %q", output)
	}
}

func TestTail(t *testing.T) {
	tests := []struct {
		name string
		text string
		want []string
	}{
		{"chatter", "I1123 07:12:33.4 1 a.go:1] fine\nE1123 07:12:33.5 1 b.go:2] broken\ntime=x level=info msg=y\n", []string{"E1123 07:12:33.5 1 b.go:2] broken"}},
		{"panic", "before\npanic: ouch\n" + strings.Repeat("stack\n", 30), append([]string{"panic: ouch"}, strings.Split(strings.Repeat("stack ", 9), " ")[:9]...)},
		{"long line", strings.Repeat("x", 5000) + "\n", []string{strings.Repeat("x", maxTailLine)}},
		{"nothing", "\n\n", nil},
	}
	for _, tt := range tests {
		o := &Output{}
		for chunk := range strings.SplitAfterSeq(tt.text, "a") { // lines come in pieces
			o.remember([]byte(chunk))
		}
		if diff := cmp.Diff(tt.want, o.tail); diff != "" {
			t.Errorf("%s: tail (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestReport(t *testing.T) {
	var got []string
	o := &Output{Report: func(text string) { got = append(got, text) }}
	o.remember([]byte("kios: ignoring x\nother kios: y\n"))
	if diff := cmp.Diff([]string{"ignoring x"}, got); diff != "" {
		t.Errorf("reported (-want +got):\n%s", diff)
	}
}

func TestStop(t *testing.T) {
	d, _, output := start(t, "calm")
	lab.Until(t, bound, "up", func() bool { return strings.Contains(output.String(), "up") })
	if d.Pid() == 0 {
		t.Error("Pid = 0 of a running daemon")
	}
	if err := d.Stop(20 * time.Second); err != nil {
		t.Errorf("Stop of a daemon that obeys SIGTERM: %v", err)
	}
	if d.Pid() != 0 || d.Restarts() != 0 {
		t.Errorf("after Stop: pid %d, %d restarts, want 0 and 0", d.Pid(), d.Restarts())
	}
}

func TestStopKills(t *testing.T) {
	d, _, output := start(t, "stubborn")
	lab.Until(t, bound, "up", func() bool { return strings.Contains(output.String(), "up") })
	if err := d.Stop(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("Stop of a daemon that ignores SIGTERM = %v", err)
	}
	if err := d.Stop(0); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

func TestLast(t *testing.T) {
	d, log, output := start(t, "idle")
	lab.Until(t, bound, "the daemon up", func() bool { return strings.Contains(output.String(), "up\n") })
	p := d.current()
	d.Last()
	d.Restart(10 * time.Second)
	select {
	case <-p.Done():
		t.Error("Restart ended the last process")
	default:
	}
	d.signal(unix.SIGTERM)
	<-d.stopped
	if d.Pid() != 0 || d.Restarts() != 0 || log.String() != "" {
		t.Errorf("after the end of the last process: pid %d, %d restarts, log %q", d.Pid(), d.Restarts(), log)
	}
	if err := d.Stop(0); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// A daemon that is to be the last before it is started is not started.
func TestLastBeforeStart(t *testing.T) {
	d := &Daemon{Prepare: func() (argv, env []string) { return nil, nil }, Output: new(Output)}
	d.Last()
	if err := d.Start(); err != nil || d.Pid() != 0 {
		t.Fatalf("Start() = %v, pid %d", err, d.Pid())
	}
	d.Run()
	if err := d.Stop(0); err != nil {
		t.Errorf("Stop() = %v", err)
	}
}

// TestDrains would hang with a pipe that nobody empties.
func TestDrains(t *testing.T) {
	_, _, output := start(t, "flood")
	lab.Until(t, bound, "4 MiB of output", func() bool { return strings.Contains(output.String(), "up") })
	if output.size < 4<<20 {
		t.Errorf("%d bytes came through, want at least 4 MiB", output.size)
	}
}

func TestMissingProgram(t *testing.T) {
	log := &record{}
	out, err := NewOutput(&record{})
	lab.Must(t, err)
	defer out.Close()
	var ends []End
	d := &Daemon{Name: "x", Output: out, Reaper: reap.New(), Log: log,
		Prepare: func() ([]string, []string) { return []string{"/nonexistent"}, nil },
		Ended:   func(e End) { ends = append(ends, e) }}
	for i := range 2 {
		err := d.Start()
		if err == nil || !strings.Contains(err.Error(), "start /nonexistent") {
			t.Errorf("Start = %v, want an error that names the program", err)
		}
		if len(ends) != i+1 || ends[i].Failed != err {
			t.Errorf("Ended with %+v, want the error for each start", ends)
		}
	}
}

// A daemon whose cgroup does not take it runs outside. One that cannot be executed is
// not tried again there: the cgroup is not to blame.
func TestStartOutside(t *testing.T) {
	dir := t.TempDir() // is no cgroup
	d, log, _ := start(t, "idle", func(d *Daemon) { d.Cgroup = dir })
	if d.Pid() == 0 || !strings.Contains(log.String(), "outside of its cgroup: start /proc/self/exe: bad file descriptor") {
		t.Errorf("pid %d, log %q", d.Pid(), log)
	}
	for err, want := range map[error]bool{
		nil: false, unix.E2BIG: false, unix.ENOENT: false, unix.ENOEXEC: false, unix.ENOMEM: false,
		unix.EBUSY: true, unix.EOPNOTSUPP: true, fmt.Errorf("start x: %w", unix.EBADF): true,
	} {
		if got := isOfCgroup(err); got != want {
			t.Errorf("isOfCgroup(%v) = %v", err, got)
		}
	}
}

// Restart is no failure: the daemon starts again with what Prepare says then,
// and nothing is reported.
func TestRestart(t *testing.T) {
	d, log, output := start(t, "idle")
	lab.Until(t, bound, "the daemon up", func() bool { return strings.Contains(output.String(), "up\n") })
	before := d.Pid()
	d.Restart(10 * time.Second)
	lab.Until(t, bound, "another process", func() bool { return d.Pid() != 0 && d.Pid() != before })
	if d.Restarts() != 1 || log.String() != "" {
		t.Errorf("%d restarts, want 1; the log says %q", d.Restarts(), log)
	}
}

// A Restart that comes while Prepare runs is not lost: what Prepare saw may be
// out of date.
func TestRestartWhilePreparing(t *testing.T) {
	var mu sync.Mutex
	calls := 0
	start(t, "idle", func(d *Daemon) {
		prepare := d.Prepare
		d.Prepare = func() ([]string, []string) {
			mu.Lock()
			calls++
			first := calls == 1
			mu.Unlock()
			if first {
				d.Restart(10 * time.Second)
			}
			return prepare()
		}
	})
	lab.Until(t, bound, "a second start", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return calls == 2
	})
}
