package boot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"kios/init/bundle"
	"kios/init/cgroup"
	"kios/init/reap"
	"kios/init/supervise"
	"kios/init/trial"
	"kios/internal/daemonenv"
	"kios/internal/kubeletargs"
)

const (
	etcVariable  = "KIOS_ETC"         // in a daemon's environment: where its files of the user's are
	keptDir      = "/run/kios/config" // the last good files of the daemons
	rejectedFile = "/run/kios/rejected.json"
)

// sources are the files that a trial is about.
var sources = map[string]trial.Sources{
	kubeletName: {Names: append(slices.Clone(kubeletargs.UserFiles), daemonenv.File)},
	containerdName: {
		Names: []string{daemonenv.File},
		Tree:  "containerd", Except: "containerd/certs.d", // is read at each pull
		Imports: trial.ContainerdImports,
	},
}

// called is how sentences name the daemons.
var called = map[string]string{kubeletName: "the kubelet", containerdName: "containerd"}

// peers are the daemons whose files may be to blame, too, when one does not stay up.
var peers = map[string]string{kubeletName: containerdName, containerdName: kubeletName}

// trials are those of the daemons that run. The work makes them; the goroutines of the
// daemons, and of those who ask for a restart, use them.
type trials struct {
	rejections *trial.Rejections
	bounds     trialBounds
	manifests  string // the directory of static pods
	bundles    string // that of containers
	pods       string // the cgroup of pods

	mu    sync.Mutex
	of    map[string]*daemonTrial // by name
	doubt doubt
}

// doubt is whether files of daemons that stay up are given up, because the node does not
// do what it should. Where that has not helped, the reason is another (a disk that is
// full, for one), and a while passes before it is tried again.
type doubt struct {
	from   time.Time
	pauses int // since containers have started with files in /etc
}

func newTrials() trials {
	return trials{
		rejections: trial.NewRejections(rejectedFile),
		bounds:     usualTrialBounds,
		manifests:  "/etc/kubernetes/manifests",
		bundles:    bundle.Dir,
		pods:       filepath.Join(cgroupRoot, "kubepods"),
		of:         map[string]*daemonTrial{},
	}
}

// get returns the trial of a daemon, or nil if it has not been started.
func (t *trials) get(name string) *daemonTrial {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.of[name]
}

// put is for a daemon that is about to be started, in place of an earlier one.
func (t *trials) put(d *daemonTrial) {
	t.mu.Lock()
	before := t.of[d.daemon.Name]
	t.of[d.daemon.Name] = d
	t.mu.Unlock()
	if before != nil {
		before.finish("")
	}
}

func (t *trials) mayDoubt() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !time.Now().Before(t.doubt.from)
}

func (t *trials) pauseDoubt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doubt.from = time.Now().Add(growing(t.bounds.again, t.doubt.pauses))
	t.doubt.pauses++
}

func (t *trials) endDoubt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doubt = doubt{}
}

// growing returns how long to wait for the next of some attempts.
func growing(first time.Duration, attempts int) time.Duration {
	return first << min(attempts, maxDoublings)
}

// daemonTrial is the trial of one daemon, and the start that runs.
type daemonTrial struct {
	*trial.Trial
	daemon *supervise.Daemon

	mu    sync.Mutex
	now   attempt
	ended string        // why the last start ended before its time, "" if nobody is to blame
	blame string        // why it is about to be ended
	took  time.Duration // of the last start, until the daemon was ready
}

// attempt is one start of a daemon.
type attempt struct {
	number     int
	over       chan struct{} // closed when the process has ended, or another start begins
	runtime    int           // how often containerd had been started again, for the kubelet
	oomKills   int           // in the daemon's cgroup so far
	containers int64         // that had been started so far
}

// keptFile is where the files of a daemon are on the data partition.
func keptFile(daemon string) string { return "/var/meta/" + daemon + "-files.json" }

// tryFiles makes the trial of a daemon. It is work.
func (n *Node) tryFiles(d *supervise.Daemon) *daemonTrial {
	store := trial.Store{Dir: filepath.Join(keptDir, d.Name)}
	if n.work.data.device != "" {
		store.File = keptFile(d.Name)
	}
	none := filepath.Join(keptDir, "none")
	err := os.MkdirAll(none, 0o700)
	t, loadErr := trial.New(sources[d.Name], store, "/etc", none)
	if err = errors.Join(err, loadErr); err != nil {
		n.Log.Warn("the files with which %s worked last are not at hand: %v", called[d.Name], err)
	}
	return n.addTrial(d, t)
}

func (n *Node) addTrial(d *supervise.Daemon, t *trial.Trial) *daemonTrial {
	dt := &daemonTrial{Trial: t, daemon: d, now: attempt{over: make(chan struct{})}}
	d.Ended = dt.end
	n.trials.put(dt)
	return dt
}

// nextStart decides about the next start of a daemon, and returns what goes into its
// environment: the directory of its files.
func (n *Node) nextStart(t *daemonTrial) (etc string) {
	n.judge(t)
	s := t.Next()
	n.sayStart(t, s)
	a := attempt{
		number: s.Number, over: make(chan struct{}),
		runtime: n.restartsOf(containerdName), oomKills: cgroup.OOMKills(t.daemon.Cgroup), containers: n.reports.containers.Load(),
	}
	t.finish("")
	t.mu.Lock()
	t.now, t.ended, t.blame = a, "", ""
	t.mu.Unlock()
	n.spawn("trial of "+t.daemon.Name, func() { n.watchTrial(t, a) })
	if s.Using == trial.NoFiles {
		n.spawn("files of "+t.daemon.Name, func() { n.tryAgain(t, a) })
	}
	return s.Etc
}

// judge counts the end of the start before, now that it is known how containerd did: a
// kubelet cannot stay up without it, and its files are not to blame for that.
func (n *Node) judge(t *daemonTrial) {
	t.mu.Lock()
	cause, runtime := t.ended, t.now.runtime
	t.mu.Unlock()
	if cause == "" {
		return
	}
	if t.daemon.Name == kubeletName && (runtime != n.restartsOf(containerdName) || !n.isReady(containerdName)) {
		return
	}
	t.Fail(cause)
}

// end keeps why the process ended.
func (t *daemonTrial) end(e supervise.End) {
	if e.Failed != nil { // whatever other daemons do
		t.finish("")
		t.FailStart(e.Failed.Error())
		return
	}
	t.mu.Lock()
	cause, kills := t.blame, t.now.oomKills
	t.mu.Unlock()
	switch {
	case cause != "":
	case e.Hung:
		cause = "it hung, and was ended"
	case e.Status.Signaled() && e.Status.Signal() == syscall.SIGKILL:
		cause = t.killed(cgroup.OOMKills(t.daemon.Cgroup) > kills)
	default:
		if cause = trial.LastError(e.Lines); cause == "" {
			cause = reap.Describe(e.Status)
		}
	}
	t.finish(cause)
}

// killed returns what a SIGKILL that is not ours says against the files. New ones may be
// why memory is short, those that were good once are not; and no file has a process
// killed by somebody else.
func (t *daemonTrial) killed(forMemory bool) (cause string) {
	if forMemory && t.Suspicion() == trial.Suspect {
		return "the kernel killed it, because memory was short"
	}
	return ""
}

// finish ends what watches the start.
func (t *daemonTrial) finish(cause string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = cause
	select {
	case <-t.now.over:
	default:
		close(t.now.over)
	}
}

// renew makes the next start another trial, because somebody asks for it.
func (t *daemonTrial) renew() {
	t.mu.Lock()
	t.ended = ""
	t.mu.Unlock()
	t.Renew()
}

// sayStart tells people and the kubelet what a start is made without.
func (n *Node) sayStart(t *daemonTrial, s trial.Start) {
	name := t.daemon.Name
	for _, odd := range s.Odd {
		n.once.Error("/etc/%s; it is used, but no copy is kept for when %s does not work with another", odd, called[name])
	}
	if s.Exhausted {
		n.once.Error("%s does not stay up, whatever files it starts with (%s): look at %s/%s.log for why", called[name], s.Cause, logDir, name)
		n.clearRejection(name)
		n.blamePeer(name, s.Failing)
	}
	if r := s.Rejection; r != nil {
		n.Log.Error("%s", r.Sentence(called[name]))
		if err := n.trials.rejections.Set(name, r); err != nil {
			n.Log.Warn("%v", err)
		}
	}
}

func (n *Node) clearRejection(name string) (was bool) {
	was, err := n.trials.rejections.Clear(name)
	if err != nil {
		n.Log.Warn("%v", err)
	}
	return was
}

// blamePeer gives up the files of the other daemon, for one that does not stay up
// whatever it starts with. If they are given up already, that has not helped.
func (n *Node) blamePeer(name string, failing time.Duration) {
	peer := n.trials.get(peers[name])
	if peer == nil || !n.trials.mayDoubt() {
		return
	}
	switch suspicion := peer.Suspicion(); {
	case suspicion == trial.Innocent:
		n.acquit(called[name] + " does not stay up")
	case suspicion == trial.Suspect || failing >= peer.Span:
		peer.mu.Lock()
		number := peer.now.number
		peer.mu.Unlock()
		n.giveUpFiles(peer, number, called[name]+" does not stay up, whatever files it starts with")
	}
}

// acquit has the daemons use the files in /etc again that were given up in vain. It
// reports whether there are any.
func (n *Node) acquit(trouble string) (some bool) {
	for _, name := range []string{containerdName, kubeletName} {
		t := n.trials.get(name)
		if t == nil || !t.Acquit() {
			continue
		}
		some = true
		n.Log.Error("%s without the files of %s either: it starts with them again; look at %s/%s.log for why", trouble, called[name], logDir, name)
		n.clearRejection(name)
		n.restartForTrial(t)
	}
	if some {
		n.trials.pauseDoubt()
	}
	return some
}

// giveUpFiles starts a daemon that runs again, with other files.
func (n *Node) giveUpFiles(t *daemonTrial, number int, cause string) {
	if t.Reject(number, cause) {
		n.restartForTrial(t)
	}
}

func (n *Node) restartForTrial(t *daemonTrial) {
	if n.stopping.isSet() {
		return
	}
	n.spawn("restart "+t.daemon.Name, func() {
		t.daemon.Restart(daemonBound)
		if t.daemon.Name == containerdName && !bundle.Any(n.trials.bundles) {
			n.endSandboxes()
		}
	})
}

// endSandboxes ends what there is of pods without containers. containerd starts the
// containers of a sandbox as it has started that, with the configuration of then.
func (n *Node) endSandboxes() {
	err := os.WriteFile(filepath.Join(n.trials.pods, "cgroup.kill"), []byte("1"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.Log.Error("pods may not start with the new configuration: end their sandboxes: %v", err)
	}
}

func (n *Node) restartsOf(name string) int {
	if d := n.daemons.named(name); d != nil {
		return d.Restarts()
	}
	return 0
}
