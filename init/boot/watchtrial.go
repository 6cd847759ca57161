package boot

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"kios/init/bundle"
	"kios/init/trial"
	"kios/internal/kubeletargs"
	"kios/internal/userfile"
)

// trialBounds are how long a daemon in trial may take.
type trialBounds struct {
	ready time.Duration // to be ready
	stay  time.Duration // to stay so
	pods  time.Duration // until a first container is started, when both daemons are ready
	poll  time.Duration
}

// Under emulation, a kubelet may take half a minute to be ready on a busy machine, and its
// pods another half.
var usualTrialBounds = trialBounds{ready: 5 * time.Minute, stay: time.Minute, pods: 3 * time.Minute, poll: 2 * time.Second}

const (
	podsFactor = 4                // for pods, this times what a daemon took to be ready, if that is more
	abortBound = 20 * time.Second // to write what all goroutines do
)

// watchTrial ends the trial of a start, unless that ends before.
func (n *Node) watchTrial(t *daemonTrial, a attempt) {
	if !n.awaitTrialReady(t, a) {
		return
	}
	t.Ready(a.number)
	if n.awaitPods(t, a) {
		n.prove(t, a)
	}
}

// awaitTrialReady waits until the daemon is ready. One that takes too long is ended.
func (n *Node) awaitTrialReady(t *daemonTrial, a attempt) (ready bool) {
	begun, late := time.Now(), time.After(n.trials.bounds.ready)
	for {
		changed, ready := n.readiness(t.daemon.Name)
		if ready {
			t.setTook(time.Since(begun))
			return true
		}
		select {
		case <-changed:
		case <-a.over:
			return false
		case <-n.stopping.done():
			return false
		case <-late:
			if t.Suspicion() == trial.Innocent || t.daemon.Name == kubeletName && awaitsCertificate() {
				continue // for ever: late comes once
			}
			t.hangs(fmt.Sprintf("it was not ready within %v", n.trials.bounds.ready))
			return false
		}
	}
}

// hangs ends a daemon that does, which is a failure for that cause.
func (t *daemonTrial) hangs(cause string) {
	t.mu.Lock()
	t.blame = cause
	t.mu.Unlock()
	t.daemon.Abort(abortBound)
}

// awaitsCertificate reports whether the kubelet may wait for a person, who has to
// approve its first certificate, before it is ready.
func awaitsCertificate() bool {
	files := kubeletargs.Files{Root: "/"}
	return !files.Standalone() && !files.Known()
}

// readiness reports whether a daemon is ready. The channel is closed when that may have
// changed.
func (n *Node) readiness(name string) (changed <-chan struct{}, ready bool) {
	pid, changed := n.daemons.readyPID(name)
	d := n.daemons.named(name)
	return changed, d != nil && pid != 0 && pid == d.Pid()
}

func (n *Node) isReady(name string) bool {
	_, ready := n.readiness(name)
	return ready
}

// awaitPods waits until a daemon that is ready has stayed so, and pods run, which is
// what it is for. There are settings with which both daemons are well, but no pod ever
// starts: after the bound, its files are given up.
func (n *Node) awaitPods(t *daemonTrial, a attempt) (good bool) {
	poll := time.NewTicker(n.trials.bounds.poll)
	defer poll.Stop()
	ready := time.Now()
	both := pairBeats{}
	for {
		stayed := time.Since(ready) >= n.trials.bounds.stay && n.isReady(t.daemon.Name)
		if stayed && (t.Suspicion() == trial.Innocent || n.podsRun(a) || !expectsPods(n.trials.manifests)) {
			return true
		}
		bound := n.podsBound()
		if time.Duration(both.count(n.readyPair()))*n.trials.bounds.poll >= bound && n.isFirstSuspect(t) {
			n.giveUpFiles(t, a.number, noPodsCause(bound, t.daemon.Output.Recent()))
			return false
		}
		select {
		case <-poll.C:
		case <-a.over:
			return false
		case <-n.stopping.done():
			return false
		}
	}
}

// podsBound is for pods to start when both daemons are ready: longer on a slow machine.
func (n *Node) podsBound() time.Duration {
	bound := n.trials.bounds.pods
	for _, name := range []string{containerdName, kubeletName} {
		if t := n.trials.get(name); t != nil {
			bound = max(bound, podsFactor*t.tookToBeReady())
		}
	}
	return bound
}

// tookToBeReady is how long the last start took until the daemon was ready.
func (t *daemonTrial) tookToBeReady() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.took
}

func (t *daemonTrial) setTook(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = took
}

func noPodsCause(bound time.Duration, lines []string) string {
	cause := fmt.Sprintf("it is ready, but no container was started within %v", bound)
	if last := trial.LastError(lines); last != "" {
		cause += "; its last error: " + last
	}
	return cause
}

// pairBeats tells how often in a row the same processes of both daemons were ready. That
// is counted, since a machine that was paused has started nothing meanwhile.
type pairBeats struct {
	pair  [2]int
	beats int
}

func (p *pairBeats) count(pair [2]int) int {
	if pair != p.pair || pair[0] == 0 || pair[1] == 0 {
		p.pair, p.beats = pair, 0
	}
	p.beats++
	return p.beats - 1
}

// readyPair returns the processes of both daemons, 0 for one that is not ready.
func (n *Node) readyPair() (pair [2]int) {
	for i, name := range []string{containerdName, kubeletName} {
		if n.isReady(name) {
			pair[i], _ = n.daemons.readyPID(name)
		}
	}
	return pair
}

// podsRun reports whether a container was started since the daemon was, or before and
// goes on.
func (n *Node) podsRun(a attempt) bool {
	if n.reports.containers.Load() != a.containers {
		return true
	}
	all, _ := bundle.List(bundle.Dir)
	containers, _ := bundle.Split(all)
	return len(containers) > 0
}

// expectsPods reports whether there is a manifest of a system pod: its image is part of
// the OS, so that it starts without waiting for anything outside of the machine.
func expectsPods(dir string) bool {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		text, err := userfile.Read(filepath.Join(dir, e.Name()), userfile.Max)
		if err == nil && bytes.Contains(text, []byte("image: kios.local/system:")) {
			return true
		}
	}
	return false
}

// isFirstSuspect reports whether a daemon's files are given up before the other's: those
// that were never good come first, and containerd's before the kubelet's.
func (n *Node) isFirstSuspect(t *daemonTrial) bool {
	own, other := t.Suspicion(), trial.Innocent
	if peer := n.trials.get(peers[t.daemon.Name]); peer != nil {
		other = peer.Suspicion()
	}
	return own > other || own == other && own != trial.Innocent && t.daemon.Name == containerdName
}

// prove keeps the files that are good.
func (n *Node) prove(t *daemonTrial, a attempt) {
	userFiles, err := t.Prove(a.number)
	if err != nil {
		n.Log.Warn("keep the files with which %s works: %v", called[t.daemon.Name], err)
	}
	if userFiles && n.clearRejection(t.daemon.Name) {
		n.Log.Notice("%s works with the files in /etc again", called[t.daemon.Name])
	}
}
