package boot

import (
	"sync"
	"testing"
	"time"

	"kios/init/notify"
	"kios/init/signals"
	"kios/init/supervise"
	"kios/init/systembus"
	"kios/init/timeline"
	"kios/internal/cmdline"
	"kios/test/lab"
)

// The tests of this file are for the race detector.

// TestShutdownBesideWork has work that outlives its bound and goes on while the
// shutdown stops what it has begun.
func TestShutdownBesideWork(t *testing.T) {
	n, _ := node(t)
	n.workBound = 10 * time.Millisecond
	n.Timeline = timeline.New("/dev/null/boot.json") // the work saves it after this test has ended
	n.options.Store(&cmdline.Options{})
	began, stopped, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	n.plan.steps = []*Step{
		{Name: "last", Stop: func(*Node) error { close(stopped); return nil }},
		{Name: "logs", Stop: (*Node).stopLogs},
		{Name: "daemons", Stop: func(n *Node) error { n.unit(systembus.Kubelet); return n.stopKubelet() }},
		{Name: "hangs", Run: func(n *Node) error {
			defer close(ended)
			close(began)
			for {
				select {
				case <-stopped:
					return nil
				default:
				}
				n.Log.SetWriter(&lab.Buffer{})
				n.options.Store(&cmdline.Options{StayUp: true})
				n.work.data.device = "/dev/vda2"
				n.logs.setKernel(nil)
				n.daemons.forget()
				n.daemons.add(&supervise.Daemon{Name: kubeletName})
			}
		}},
	}
	go func() {
		<-began
		n.inbox.signals <- signals.PowerButton
	}()
	if o := n.Run(); o.Failure != nil || o.Action != systembus.PowerOff {
		t.Errorf("outcome = %+v, want a power-off", o)
	}
	<-ended
}

// TestKubeletIsReplaced has messages, jobs and the clock restart a kubelet that a
// move replaces.
func TestKubeletIsReplaced(t *testing.T) {
	n, _ := node(t)
	n.Log.SetWriter(&lab.Buffer{})
	var users sync.WaitGroup
	for range 10 {
		for _, use := range []func(){
			func() { n.receive(kubeletName, notify.Message{Kind: notify.Providers}) },
			func() { n.receive(kubeletName, notify.Message{Kind: notify.Joining, Cluster: "https://10.0.0.1:6443"}) },
			func() { n.receive(kubeletName, notify.Message{Kind: notify.Ready}) },
			func() { n.restartKubelet() },
			func() { n.unit(systembus.Kubelet) },
			func() { n.daemons.sender(1) },
			func() { n.daemons.forget(); n.daemons.add(&supervise.Daemon{Name: kubeletName}) },
		} {
			users.Go(use)
		}
	}
	users.Wait()
}

// TestFacts has the kubelet's goroutine name the node while others ask for the name.
func TestFacts(t *testing.T) {
	n, _ := node(t)
	var users sync.WaitGroup
	for range 10 {
		users.Go(func() { n.self.update(func(f *facts) { f.hostname = "node1" }) })
		users.Go(func() { n.self.get() })
	}
	users.Wait()
	if got := n.self.get().hostname; got != "node1" {
		t.Errorf("hostname = %q", got)
	}
}

// TestOnceLog has several goroutines log the same error.
func TestOnceLog(t *testing.T) {
	n, _ := node(t)
	log := &lab.Buffer{}
	n.Log.SetWriter(log)
	var users sync.WaitGroup
	for range 10 {
		users.Go(func() { n.once.Error("%s is not used", "x") })
	}
	users.Wait()
	if got, want := log.String(), "<3>kios: error: x is not used\n"; got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
}
