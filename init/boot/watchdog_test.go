package boot

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/init/mount"
	"kios/init/notify"
	"kios/init/signals"
	"kios/init/systembus"
	"kios/test/lab"
)

// long is for what answers, short for what does not.
const (
	long  = 20 * time.Second
	short = 10 * time.Millisecond
)

func demandHung(t *testing.T, n *Node, want string) {
	t.Helper()
	if err := n.hung(short); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("hung() = %v, want %s", err, want)
	}
}

// The watchdog is fed only if each part of PID 1 works.
func TestHung(t *testing.T) {
	n, _ := node(t)
	demandHung(t, n, "the main goroutine")
	ended := make(chan Outcome)
	n.plan.steps = nil
	go func() { ended <- n.Run() }()
	lab.Until(t, long, "the main goroutine", func() bool { return n.ping(short) })
	demandHung(t, n, "the reaper")

	go n.reaper.Run()
	defer n.reaper.Close()
	if err := n.hung(long); err != nil {
		t.Errorf("a node without daemons: %v", err)
	}
	server, err := notify.Listen(filepath.Join(t.TempDir(), "notify"))
	lab.Must(t, err)
	defer server.Close()
	n.messages.Store(server)
	if err := n.hung(time.Second / 10); err == nil || !strings.Contains(err.Error(), "messages") {
		t.Errorf("hung() = %v, want that of the messages", err)
	}
	go server.Run(t.Logf)
	if err := n.hung(long); err != nil {
		t.Errorf("all of PID 1 works: %v", err)
	}
	n.requestShutdown(shutdownRequest{action: systembus.PowerOff, cause: "somebody"})
	<-ended
}

// While the node stops the watchdog is fed, but not for longer than that may take.
func TestHungShutdown(t *testing.T) {
	n, _ := node(t)
	late := make(chan time.Time)
	go n.receiveWhileStopping(late)
	if !n.ping(long) {
		t.Error("a shutdown is taken for a hang")
	}
	late <- time.Time{}
	if n.ping(short) {
		t.Error("a shutdown that does not end is no hang")
	}
}

// While a node that failed saves what it has, the watchdog is fed, but not for ever.
func TestHungFailure(t *testing.T) {
	n, _ := node(t)
	n.plan.steps = []*Step{{Name: "a", Required: true, Run: func(*Node) error { return errors.New("broken") }}}
	if o := n.Run(); o.Failure == nil {
		t.Fatal("the node did not fail")
	}
	if err := n.hung(long); err != nil { // neither has it a reaper any more
		t.Errorf("a node that saves is taken for one that hangs: %v", err)
	}

	n, _ = node(t)
	late := make(chan time.Time)
	go n.receiveWhileFailing(late)
	late <- time.Time{}
	if n.ping(short) {
		t.Error("a node that does not end is no hang")
	}
	if most := 2*10*time.Second + restBound + otherBound + diskBound + otherBound; failBound <= most {
		t.Errorf("failBound is %v, and to fail may take %v", failBound, most)
	}
}

// The list of mounts may hang, too, while a node saves what it has.
func TestMountsWithin(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	hangs := func() ([]mount.Info, error) { <-release; return nil, nil }
	if _, err := mountsWithin(short, hangs); !errors.Is(err, errHangs) {
		t.Errorf("mountsWithin = %v, want %v", err, errHangs)
	}
	if infos, err := mountsWithin(long, mount.List); err != nil || len(infos) == 0 {
		t.Errorf("mountsWithin = %v, %v", infos, err)
	}
}

func TestStopBound(t *testing.T) {
	n, _ := node(t)
	ten := func(*Node) time.Duration { return 10 * time.Second }
	stop := func(*Node) error { return nil }
	got := n.stopBound([]*Step{{Name: "a", Stop: stop}, {Name: "b"}, {Name: "c", Stop: stop, Patience: ten}})
	if want := 2*stepBound + 10*time.Second; got != want {
		t.Errorf("stopBound = %v, want %v", got, want)
	}
}

// Who asks again and again fills no log.
func TestStoppingAlready(t *testing.T) {
	n, _ := node(t)
	log := &lab.Buffer{}
	n.Log.SetWriter(log)
	go n.receiveWhileStopping(nil)
	for range 100 {
		n.inbox.signals <- signals.PowerButton
	}
	for range 100 {
		n.inbox.shutdowns <- shutdownRequest{immediate: true, cause: "a pod"}
	}
	if !n.ping(long) {
		t.Fatal("nobody receives")
	}
	if count := strings.Count(log.String(), "stopping already (the power button)"); count != 1 {
		t.Errorf("it is logged %d times:\n%s", count, log)
	}
	if count := strings.Count(log.String(), "\n"); count > 10 {
		t.Errorf("200 requests make %d lines:\n%s", count, log)
	}
}

// A pod that sends nonsense fills no log either.
func TestStrangersFillNoLog(t *testing.T) {
	n, _ := node(t)
	log := &lab.Buffer{}
	n.Log.SetWriter(log)
	for range 1000 {
		n.receiveByte(0x77)
	}
	path := filepath.Join(t.TempDir(), "notify")
	lab.Must(t, n.listenNotifyAt(path))
	server := n.messages.Load()
	defer server.Close()
	for range 1000 {
		server.Refuse("a message was dropped")
	}
	if count := strings.Count(log.String(), "\n"); count < 1 || count > 20 {
		t.Errorf("2000 lines of a pod made %d:\n%s", count, log)
	}
	if !strings.Contains(log.String(), "the unknown byte 0x77") {
		t.Errorf("the first is not logged: %s", log)
	}
}
