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
	again time.Duration // until files that were good once are tried again; grows
}

// Under emulation, a kubelet may take half a minute to be ready on a busy machine, and its
// pods another half.
var usualTrialBounds = trialBounds{ready: 5 * time.Minute, stay: time.Minute, pods: 3 * time.Minute, poll: 2 * time.Second, again: 5 * time.Minute}

const (
	podsFactor = 4                // for pods, this times what a daemon took to be ready, if that is more
	abortBound = 20 * time.Second // to write what all goroutines do

	trustedFactor = 4 // for files that were good once, this times the bound to be ready
	maxDoublings  = 6 // of trialBounds.again: more than five hours
)

// watchTrial ends the trial of a start, unless that ends before.
func (n *Node) watchTrial(t *daemonTrial, a attempt) {
	if !n.awaitTrialReady(t, a) {
		return
	}
	t.Ready(a.number)
	n.awaitPods(t, a)
}

// awaitTrialReady waits until the daemon is ready. One that takes too long is ended.
func (n *Node) awaitTrialReady(t *daemonTrial, a attempt) (ready bool) {
	begun, bound := time.Now(), n.readyBound(t)
	late := time.NewTimer(bound)
	defer late.Stop()
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
		case <-late.C:
			if t.Suspicion() != trial.Innocent && !n.awaitsOthers(t) {
				t.hangs(fmt.Sprintf("it was not ready within %v", bound))
				return false
			}
			late.Reset(bound)
		}
	}
}

// readyBound is longer for files that were good once: it is more likely that the machine
// is slow today.
func (n *Node) readyBound(t *daemonTrial) time.Duration {
	if t.Suspicion() == trial.Trusted {
		return trustedFactor * n.trials.bounds.ready
	}
	return n.trials.bounds.ready
}

// awaitsOthers reports whether a daemon cannot be ready for now, whatever its files are.
func (n *Node) awaitsOthers(t *daemonTrial) bool {
	return t.daemon.Name == kubeletName && (!n.isReady(containerdName) || awaitsCertificate())
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
func (n *Node) awaitPods(t *daemonTrial, a attempt) {
	poll := time.NewTicker(n.trials.bounds.poll)
	defer poll.Stop()
	ready, without := time.Now(), pairBeats{}
	for {
		stayed := time.Since(ready) >= n.trials.bounds.stay && n.isReady(t.daemon.Name)
		if n.lookForPods(t, a, stayed, &without) {
			return
		}
		select {
		case <-poll.C:
		case <-a.over:
			return
		case <-n.stopping.done():
			return
		}
	}
}

// lookForPods reports whether there is a verdict. A container that was started since the
// daemon was, or a node without pods, is all there is to know. One that goes on running
// from before shows only that nothing is wrong yet: files are kept when the next starts.
func (n *Node) lookForPods(t *daemonTrial, a attempt, stayed bool, without *pairBeats) (over bool) {
	started := n.reports.containers.Load() != a.containers
	pair, run := n.readyPair(), started || bundle.Any(n.trials.bundles)
	if !run && !expectsPods(n.trials.manifests) {
		started, run = true, true
	}
	if run {
		pair = [2]int{}
	}
	if stayed && run {
		n.prove(t, a, started)
		return started
	}
	bound := n.podsBound()
	return time.Duration(without.count(pair))*n.trials.bounds.poll >= bound && n.trials.mayDoubt() && n.doubtFiles(t, a, bound)
}

// doubtFiles deals with both daemons being ready without any container. It reports
// whether the daemon is started again.
func (n *Node) doubtFiles(t *daemonTrial, a attempt, bound time.Duration) bool {
	own, other := n.suspicions(t)
	switch {
	case own > other || own == other && own != trial.Innocent && t.daemon.Name == containerdName:
		n.giveUpFiles(t, a.number, noPodsCause(bound, t.daemon.Output.Recent()))
		return true
	case own == trial.Innocent && other == trial.Innocent:
		n.acquit(fmt.Sprintf("no container was started within %v", bound))
	}
	return false
}

// suspicions returns that of a daemon's files and of the other's: those that were never
// good are given up first, and containerd's before the kubelet's.
func (n *Node) suspicions(t *daemonTrial) (own, other trial.Suspicion) {
	if peer := n.trials.get(peers[t.daemon.Name]); peer != nil {
		other = peer.Suspicion()
	}
	return t.Suspicion(), other
}

// podsBound is for pods to start when both daemons are ready: longer on a slow machine.
func (n *Node) podsBound() time.Duration {
	bound := n.trials.bounds.pods
	for _, name := range []string{containerdName, kubeletName} {
		if t := n.trials.get(name); t != nil {
			bound = max(bound, podsFactor*t.tookToBeReady())
		}
	}
	return bound.Round(time.Millisecond)
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

// prove tells the trial that a daemon stays up, and keeps the files that are good.
func (n *Node) prove(t *daemonTrial, a attempt, containers bool) {
	userFiles, err := t.Prove(a.number, containers)
	if err != nil {
		n.Log.Warn("keep the files with which %s works: %v", called[t.daemon.Name], err)
	}
	if !userFiles {
		return
	}
	if containers {
		n.trials.endDoubt()
	}
	if n.clearRejection(t.daemon.Name) {
		n.Log.Notice("%s works with the files in /etc again", called[t.daemon.Name])
	}
}

// tryAgain has a daemon that runs without files use those again that were good once: what
// they failed for may be over.
func (n *Node) tryAgain(t *daemonTrial, a attempt) {
	wait := time.NewTimer(growing(n.trials.bounds.again, t.Attempts()))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-a.over:
		return
	case <-n.stopping.done():
		return
	}
	if t.Again(a.number) {
		n.Log.Notice("%s starts again, to try the files with which it worked before", called[t.daemon.Name])
		n.restartForTrial(t)
	}
}
