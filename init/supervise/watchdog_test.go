package supervise

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// watched starts a daemon that has to report, and waits until it is up.
func watched(t *testing.T, what string) (d *Daemon, log, output *record) {
	t.Helper()
	d, log, output = start(t, what, func(d *Daemon) { d.Watchdog = 120 * time.Millisecond })
	lab.Until(t, bound, "up", func() bool { return strings.Contains(output.String(), "up\n") })
	return d, log, output
}

// A daemon that hangs is ended so that its log says where; also one that was stopped.
func TestSilentDaemonIsEnded(t *testing.T) {
	for _, what := range []string{"hangs", "stopped"} {
		t.Run(what, func(t *testing.T) {
			d, log, output := watched(t, what)
			before := d.Pid()
			if what == "stopped" {
				unix.Kill(before, unix.SIGSTOP)
			}
			d.Alive()
			lab.Until(t, bound, "another process", func() bool { return d.Pid() != 0 && d.Pid() != before })
			if !strings.Contains(output.String(), "\nmain.main()\n") {
				t.Errorf("the output has no goroutines:\n%s", output)
			}
			for _, want := range []string{"has not reported for 120ms: it hangs, and is ended\n", what + "| SIGABRT: abort\n", "exit code 2; restart 1"} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("the log lacks %q:\n%s", want, log)
				}
			}
		})
	}
}

// One that has never reported is left alone, and so is one that goes on reporting.
func TestReportingDaemonLives(t *testing.T) {
	d, log, _ := watched(t, "never reports")
	p := d.current()
	if endsWithin(p, 5*d.Watchdog) {
		t.Fatalf("a daemon that has never reported was ended:\n%s", log)
	}
	report := time.NewTicker(d.Watchdog / (2 * beats))
	defer report.Stop()
	for range 10 * beats {
		select {
		case <-report.C:
			d.Alive()
		case <-p.Done():
			t.Fatalf("a daemon that reports was ended:\n%s", log)
		}
	}
}

// What a process has reported does not count for the next one, which may take its
// time to start.
func TestReportOfTheProcessBefore(t *testing.T) {
	d, log, _ := watched(t, "starts again")
	d.Alive()
	unix.Kill(d.Pid(), unix.SIGKILL)
	d.Alive()
	lab.Until(t, bound, "another process", func() bool { return d.Pid() != 0 && d.Restarts() == 1 })
	if p := d.current(); endsWithin(p, 5*d.Watchdog) {
		t.Errorf("the next process was ended before it reported:\n%s", log)
	}
}
