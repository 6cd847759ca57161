package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kios/init/notify"
	"kios/init/supervise"
	"kios/init/systembus"
	"kios/init/trial"
	"kios/test/lab"
)

// The test binary is the daemons, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "daemon" {
		playDaemon(os.Args[2])
	}
	os.Exit(m.Run())
}

// playDaemon is a daemon that does what its file says.
func playDaemon(file string) {
	text, _ := os.ReadFile(filepath.Join(os.Getenv(etcVariable), file))
	if needed, needs := strings.CutPrefix(string(text), "needs "); needs {
		if _, err := os.Stat(needed); err != nil {
			text = []byte("bad")
		}
	}
	switch string(text) {
	case "bad":
		fmt.Println("E1130 05:14:01.123456     123 run.go:72] it is bad")
		os.Exit(1)
	case "mute":
		time.Sleep(time.Hour)
	}
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		panic(err)
	}
	fmt.Println("E1130 05:14:01.123456     123 a.go:1] no sandbox for you")
	c.Write([]byte("READY=1"))
	time.Sleep(time.Hour)
}

// files are those of the daemons, below /etc.
var daemonFiles = map[string]string{kubeletName: "kubernetes/config.yaml", containerdName: "containerd/config.toml"}

// trialBench is a node whose daemons are processes of a test.
type trialBench struct {
	*Node
	t   *testing.T
	dir string
	log *lab.Buffer
}

func newTrialBench(t *testing.T) *trialBench {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root's messages are taken")
	}
	n, _ := node(t)
	b := &trialBench{Node: n, t: t, dir: t.TempDir(), log: &lab.Buffer{}}
	n.Log.SetWriter(b.log)
	n.trials.rejections = trial.NewRejections(b.path("rejected.json"))
	n.trials.bounds = trialBounds{ready: time.Minute, stay: 10 * time.Millisecond, pods: time.Hour, poll: time.Millisecond, again: time.Hour}
	n.trials.manifests, n.trials.bundles = b.path("etc/kubernetes/manifests"), b.path("bundles")
	n.trials.pods = b.path("kubepods")
	server, err := notify.Listen(b.path("notify"))
	lab.Must(t, err)
	server.Sender, server.Receive, server.Refuse = n.daemons.sender, n.receive, t.Logf
	go server.Run(t.Logf)
	go n.reaper.Run()
	t.Cleanup(func() { n.stopping.set(); server.Close(); n.reaper.Close() })
	return b
}

// expectPods has the node expect pods that run in no time.
func (b *trialBench) expectPods() {
	lab.WriteFile(b.t, b.path("etc/kubernetes/manifests/network.yaml"), "spec:\n  containers:\n    - image: kios.local/system:1\n")
	b.trials.bounds.pods = 200 * time.Millisecond
}

// proveBefore writes a file of a daemon that was good at an earlier boot.
func (b *trialBench) proveBefore(name, text string) {
	b.t.Helper()
	b.write(name, text)
	tr, err := trial.New(sources[name], b.store(name), b.path("etc"), b.path("none"))
	lab.Must(b.t, err)
	_, err = tr.Prove(tr.Next().Number, true)
	lab.Must(b.t, err)
}

func (b *trialBench) store(name string) trial.Store {
	return trial.Store{Dir: b.path("kept/" + name), File: b.path(name + "-files.json")}
}

func (b *trialBench) awaitLog(want string) {
	b.t.Helper()
	lab.Eventually(b.t, time.Minute, fmt.Sprintf("the log says %q", want), func() error {
		if text := b.log.String(); !strings.Contains(text, want) {
			return fmt.Errorf("it says:\n%s", text)
		}
		return nil
	})
}

func (b *trialBench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *trialBench) write(daemon, text string) {
	b.t.Helper()
	lab.WriteFile(b.t, b.path("etc/"+daemonFiles[daemon]), text)
}

// run starts a daemon whose file is the user's.
func (b *trialBench) run(name string) *supervise.Daemon {
	b.t.Helper()
	return b.runWith(name, sources[name])
}

func (b *trialBench) runWith(name string, sources trial.Sources) *supervise.Daemon {
	b.t.Helper()
	d := b.daemon(name, sources)
	lab.Must(b.t, b.startDaemon(d))
	return d
}

func (b *trialBench) daemon(name string, sources trial.Sources) *supervise.Daemon {
	b.t.Helper()
	output, err := supervise.NewOutput(&lab.Buffer{})
	lab.Must(b.t, err)
	go output.Drain()
	d := &supervise.Daemon{Name: name, Output: output, Reaper: b.reaper, Log: b.Log}
	tr, err := trial.New(sources, b.store(name), b.path("etc"), b.path("none"))
	lab.Must(b.t, err)
	tr.Span = 0
	dt := b.addTrial(d, tr)
	d.Prepare = func() (argv, env []string) {
		return []string{"/proc/self/exe", "daemon", daemonFiles[name]},
			append(os.Environ(), "NOTIFY_SOCKET="+b.path("notify"), etcVariable+"="+b.nextStart(dt))
	}
	b.t.Cleanup(func() { d.Stop(time.Second); output.Close() })
	return d
}

// await waits until files are given up for others, or "" for none.
func (b *trialBench) await(daemon string, want trial.Using) {
	b.t.Helper()
	lab.Until(b.t, time.Minute, fmt.Sprintf("the %s is rejected for %q", daemon, want), func() bool {
		return b.rejected()[daemon].Using == want && b.isReady(daemon)
	})
}

func (b *trialBench) rejected() map[string]trial.Rejection {
	text, err := os.ReadFile(b.path("rejected.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var all map[string]trial.Rejection
	if err := errors.Join(err, json.Unmarshal(text, &all)); err != nil {
		b.t.Fatal(err)
	}
	return all
}

// awaitKept waits until a daemon has proven a text.
func (b *trialBench) awaitKept(daemon, text string) {
	b.t.Helper()
	lab.Until(b.t, time.Minute, "the file is kept", func() bool {
		got, _ := os.ReadFile(b.path("kept/" + daemon + "/" + daemonFiles[daemon]))
		return string(got) == text
	})
}

func TestFilesOfADaemon(t *testing.T) {
	b := newTrialBench(t)
	b.write(kubeletName, "good")
	d := b.run(containerdName)
	k := b.run(kubeletName)
	b.awaitKept(kubeletName, "good")
	b.write(kubeletName, "bad")
	k.Restart(time.Minute)
	b.await(kubeletName, trial.GoodFiles)
	if r := b.rejected()[kubeletName]; r.Error != "it is bad" || len(r.Files) != 1 || r.Files[0] != "/etc/"+daemonFiles[kubeletName] {
		t.Errorf("rejection = %+v", r)
	}
	demand(t, b.log, "<3>kios: error: the kubelet does not work with the changes of /etc/kubernetes/config.yaml (it is bad): it starts with the files as they were before")
	before := k.Pid()
	k.Restart(time.Minute) // to join a cluster, for one: no new trial
	lab.Until(t, time.Minute, "another kubelet is ready", func() bool { return k.Pid() != before && b.isReady(kubeletName) })
	if got := k.Restarts(); got != 5 { // the first to the bad file, two failures, to the good one, and this
		t.Errorf("%d restarts, want 5", got)
	}
	b.write(kubeletName, "better")
	lab.Must(t, b.restartUnit(systembus.Kubelet, "a test"))
	b.await(kubeletName, "")
	b.awaitKept(kubeletName, "better")
	b.awaitLog("the kubelet works with the files in /etc again")
	if d.Restarts() != 0 {
		t.Error("containerd is started again for the kubelet's files")
	}
}

// Somebody who asks for a restart asks for another trial of the same files.
func TestRestartIsANewTrial(t *testing.T) {
	b := newTrialBench(t)
	b.run(containerdName)
	b.write(kubeletName, "bad")
	k := b.run(kubeletName)
	b.await(kubeletName, trial.NoFiles)
	before := k.Restarts()
	lab.Must(t, b.restartUnit(systembus.Kubelet, "a test"))
	if got := k.Restarts() - before; got != 4 {
		t.Errorf("%d starts until it is ready, want three with the files and one without", got)
	}
}

func TestDaemonThatIsNeverReady(t *testing.T) {
	b := newTrialBench(t)
	b.trials.bounds.ready = time.Second
	b.write(containerdName, "mute")
	b.run(containerdName)
	b.await(containerdName, trial.NoFiles)
	if r := b.rejected()[containerdName]; r.Error != "it was not ready within 1s" {
		t.Errorf("rejection = %+v", r)
	}
}

// A daemon that is never ready without any files, either, is left alone.
func TestMuteDaemonWithoutFiles(t *testing.T) {
	b := newTrialBench(t)
	b.trials.bounds.ready = time.Millisecond
	b.write(containerdName, "mute")
	d := b.runWith(containerdName, trial.Sources{})
	pid := d.Pid()
	time.Sleep(100 * time.Millisecond) // nothing tells that nothing happens
	if d.Pid() != pid || pid == 0 {
		t.Errorf("process %d became %d", pid, d.Pid())
	}
}

// Both daemons are ready, but no pod starts: the files that were never good are given
// up, containerd's first.
func TestNoPodStarts(t *testing.T) {
	b := newTrialBench(t)
	b.expectPods()
	kill := b.path("kubepods/cgroup.kill")
	lab.WriteFile(t, kill, "0")
	b.write(containerdName, "odd")
	b.write(kubeletName, "odd")
	b.run(containerdName)
	b.run(kubeletName)
	b.await(containerdName, trial.NoFiles)
	if r := b.rejected()[containerdName]; !strings.Contains(r.Error, "no container was started within") || !strings.Contains(r.Error, "no sandbox for you") {
		t.Errorf("rejection = %+v", r)
	}
	// Sandboxes keep the configuration that they were started with.
	lab.Until(t, time.Minute, "the end of sandboxes", func() bool { return lab.ReadFile(t, kill) == "1" })
	b.awaitLog("the kubelet does not work")
	if first, second := "containerd does not work", "the kubelet does not work"; strings.Index(b.log.String(), first) > strings.Index(b.log.String(), second) {
		t.Errorf("the kubelet's files are given up first:\n%s", b.log)
	}
}

// A container that starts speaks for all files.
func TestAPodStarts(t *testing.T) {
	b := newTrialBench(t)
	lab.WriteFile(t, b.path("etc/kubernetes/manifests/network.yaml"), "spec:\n  containers:\n    - image: kios.local/system:1\n")
	b.write(containerdName, "fine")
	b.write(kubeletName, "fine")
	b.run(containerdName)
	b.run(kubeletName)
	lab.Until(t, time.Minute, "both are ready", func() bool { p := b.readyPair(); return p[0] != 0 && p[1] != 0 })
	b.receive(containerdName, notify.Message{Kind: notify.ContainerStarted, Namespace: "a", Pod: "b"})
	time.Sleep(10 * b.trials.bounds.stay)
	if _, err := os.Stat(b.path("kept/" + kubeletName)); err == nil {
		t.Error("a sandbox without a container speaks for the files")
	}
	b.receive(containerdName, notify.Message{Kind: notify.ContainerStarted, Namespace: "a", Pod: "b", Container: "c"})
	b.awaitKept(containerdName, "fine")
	b.awaitKept(kubeletName, "fine")
}

// A kubelet that does not stay up without containerd is not to blame.
func TestKubeletWithoutContainerd(t *testing.T) {
	b := newTrialBench(t)
	b.write(containerdName, "mute")
	b.run(containerdName)
	b.write(kubeletName, "bad")
	k := b.run(kubeletName)
	lab.Until(t, time.Minute, "the kubelet ends five times", func() bool { return k.Restarts() >= 5 })
	if r := b.rejected(); len(r) > 0 {
		t.Errorf("rejected = %v, want nothing", r)
	}
}

// Nor is one whose containerd ended and is back: that may have been before its own end.
func TestKubeletWhoseContainerdIsBack(t *testing.T) {
	b := newTrialBench(t)
	b.run(containerdName)
	b.await(containerdName, "")
	b.write(kubeletName, "new")
	tr, err := trial.New(sources[kubeletName], trial.Store{Dir: b.path("kept")}, b.path("etc"), b.path("none"))
	lab.Must(t, err)
	dt := b.addTrial(&supervise.Daemon{Name: kubeletName}, tr)
	for _, tt := range []struct {
		runtime int // restarts of containerd when the kubelet was started
		want    trial.Using
	}{{-1, trial.UserFiles}, {0, trial.NoFiles}} {
		for range 3 {
			dt.Next()
			dt.now.runtime, dt.ended = tt.runtime, "it is bad"
			b.judge(dt)
		}
		if s := dt.Next(); s.Using != tt.want {
			t.Errorf("after %d restarts, now 0, it is started with %s, want %s", tt.runtime, s.Using, tt.want)
		}
	}
}

// Where a daemon does not stay up whatever it is started with, the other's new files are
// given up.
func TestPeerIsToBlame(t *testing.T) {
	b := newTrialBench(t)
	lab.WriteFile(t, b.path("etc/kubernetes/manifests/network.yaml"), "image: kios.local/system:1")
	b.write(containerdName, "odd")
	b.run(containerdName)
	b.write(kubeletName, "bad")
	b.runWith(kubeletName, trial.Sources{})
	b.await(containerdName, trial.NoFiles)
	if r := b.rejected()[containerdName]; !strings.Contains(r.Error, "the kubelet does not stay up, whatever files it starts with") {
		t.Errorf("rejection = %+v", r)
	}
}

// Nor do files help that were good once, if what they need has changed. But they are not
// given up in a moment.
func TestTrustedPeerIsToBlame(t *testing.T) {
	b := newTrialBench(t)
	b.expectPods()
	b.trials.bounds.pods = time.Hour
	b.proveBefore(containerdName, "odd")
	b.run(containerdName)
	peer := b.trials.get(containerdName)
	peer.Span = time.Hour
	b.await(containerdName, "")
	b.blamePeer(kubeletName, time.Minute)
	if s := peer.Suspicion(); s != trial.Trusted {
		t.Errorf("suspicion %d after a minute, want %d", s, trial.Trusted)
	}
	b.blamePeer(kubeletName, 2*time.Hour)
	b.await(containerdName, trial.NoFiles)
	b.blamePeer(kubeletName, 2*time.Hour) // it has not helped
	b.awaitLog("the kubelet does not stay up without the files of containerd either")
	b.await(containerdName, "")
	b.blamePeer(kubeletName, 3*time.Hour) // for now, that is known
	if s := peer.Suspicion(); s != trial.Trusted {
		t.Errorf("suspicion %d, want %d", s, trial.Trusted)
	}
}

// Both daemons are ready, but no pod starts, with or without files: these are not the
// reason, and come back.
func TestNoPodStartsWhateverTheFiles(t *testing.T) {
	b := newTrialBench(t)
	b.expectPods()
	for _, name := range []string{containerdName, kubeletName} {
		b.proveBefore(name, "good")
	}
	d := b.run(containerdName)
	k := b.run(kubeletName)
	b.awaitLog(" without the files of the kubelet either: it starts with them again")
	lab.Until(t, time.Minute, "both use their files", func() bool {
		p := b.readyPair()
		// Each was started without its files, and with them again.
		return d.Restarts() >= 2 && k.Restarts() >= 2 && len(b.rejected()) == 0 && p[0] != 0 && p[1] != 0 &&
			b.trials.get(kubeletName).Suspicion() == trial.Trusted && b.trials.get(containerdName).Suspicion() == trial.Trusted
	})
	before := d.Restarts() + k.Restarts()
	time.Sleep(5 * b.trials.bounds.pods) // nothing tells that nothing happens
	if got := d.Restarts() + k.Restarts(); got != before {
		t.Errorf("%d more restarts, though it is known that they do not help", got-before)
	}
	b.receive(containerdName, notify.Message{Kind: notify.ContainerStarted, Namespace: "a", Pod: "b", Container: "c"})
	lab.Until(t, time.Minute, "the files are proven", func() bool {
		return b.trials.get(kubeletName).Suspicion() == trial.Innocent && b.trials.get(containerdName).Suspicion() == trial.Innocent
	})
}

// Files that worked before, and do not while something else is wrong, come back.
func TestFilesThatWorkedAreTriedAgain(t *testing.T) {
	b := newTrialBench(t)
	b.trials.bounds.again = 10 * time.Millisecond
	b.run(containerdName)
	b.await(containerdName, "")
	b.proveBefore(kubeletName, "needs "+b.path("disk"))
	b.run(kubeletName)
	b.awaitLog("the kubelet starts again, to try the files with which it worked before")
	b.await(kubeletName, trial.NoFiles)
	lab.WriteFile(t, b.path("disk"), "")
	b.await(kubeletName, "")
	if said := strings.Count(b.log.String(), "the kubelet does not work with"); said != 1 {
		t.Errorf("it is said %d times that the files do not work:\n%s", said, b.log)
	}
}

// Containers that run since before say little about new files: these are kept when
// another one is started.
func TestOldContainersProveLittle(t *testing.T) {
	b := newTrialBench(t)
	b.expectPods()
	lab.WriteFile(t, b.path("bundles/c1/init.pid"), "300")
	lab.WriteFile(t, b.path("bundles/c1/config.json"), "{}")
	b.proveBefore(containerdName, "good")
	b.write(containerdName, "bad")
	b.write(kubeletName, "fine")
	d := b.run(containerdName)
	b.run(kubeletName)
	b.await(containerdName, trial.GoodFiles)
	b.write(containerdName, "odd")
	d.Restart(time.Minute)
	b.awaitLog("containerd works with the files in /etc again")
	before := d.Restarts()
	time.Sleep(2 * b.trials.bounds.pods)
	if got := b.trials.get(containerdName).Suspicion(); got != trial.Suspect || d.Restarts() != before {
		t.Errorf("suspicion %d, %d restarts, want %d, %d", got, d.Restarts(), trial.Suspect, before)
	}
	b.awaitKept(containerdName, "good")
	b.receive(containerdName, notify.Message{Kind: notify.ContainerStarted, Namespace: "a", Pod: "b", Container: "c"})
	b.awaitKept(containerdName, "odd")
	b.awaitKept(kubeletName, "fine")
}

// A kubelet that cannot be executed with what its files make of its arguments starts
// without them, also the first time.
func TestProgramThatCannotBeExecuted(t *testing.T) {
	b := newTrialBench(t)
	b.proveBefore(kubeletName, "long") // however good it was
	d := b.daemon(kubeletName, sources[kubeletName])
	b.trials.get(kubeletName).Span = time.Hour
	prepare := d.Prepare
	d.Prepare = func() (argv, env []string) {
		argv, env = prepare()
		if slices.Contains(env, etcVariable+"="+b.path("etc")) {
			argv = append(argv, strings.Repeat("x", 128<<10))
		}
		return argv, env
	}
	lab.Must(t, b.startDaemon(d))
	b.await(kubeletName, trial.NoFiles)
	if r := b.rejected()[kubeletName]; !strings.Contains(r.Error, "argument list too long") {
		t.Errorf("rejection = %+v", r)
	}
	lab.Must(t, b.restartUnit(systembus.Kubelet, "a test"))
	b.await(kubeletName, trial.NoFiles)

	none := b.daemon(kubeletName, trial.Sources{})
	none.Prepare = func() (argv, env []string) { return []string{"/nonexistent"}, nil }
	if err := b.startDaemon(none); err == nil {
		t.Error("there is no error of a program that is not there")
	}
}

// A kubelet cannot be ready before containerd is, and is not ended for that.
func TestMuteKubeletWithoutContainerd(t *testing.T) {
	b := newTrialBench(t)
	b.trials.bounds.ready = 20 * time.Millisecond
	b.write(containerdName, "mute")
	b.runWith(containerdName, trial.Sources{})
	b.write(kubeletName, "mute")
	k := b.run(kubeletName)
	pid := k.Pid()
	time.Sleep(20 * b.trials.bounds.ready)
	if k.Pid() != pid || k.Restarts() != 0 {
		t.Errorf("process %d became %d", pid, k.Pid())
	}
}

// Files that were good once may take longer: the machine may be slow today.
func TestReadyBound(t *testing.T) {
	b := newTrialBench(t)
	b.proveBefore(containerdName, "good")
	b.run(containerdName)
	b.write(kubeletName, "new")
	b.run(kubeletName)
	for name, want := range map[string]time.Duration{containerdName: trustedFactor * b.trials.bounds.ready, kubeletName: b.trials.bounds.ready} {
		b.trials.get(name).Next() // nobody proves that one
		if got := b.readyBound(b.trials.get(name)); got != want {
			t.Errorf("the %s has %v, want %v", name, got, want)
		}
	}
}

// The OOM killer is no reason to give up files that were good once, and another killer is
// none at all.
func TestKilled(t *testing.T) {
	for _, tt := range []struct {
		name    string
		kills   string
		good    bool
		wantEnd string
	}{
		{"good files", "oom_kill 1\n", true, ""},
		{"new files", "oom_kill 1\n", false, "the kernel killed it, because memory was short"},
		{"new files, another killer", "oom_kill 0\n", false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n, _ := node(t)
			dir := t.TempDir()
			lab.WriteFile(t, filepath.Join(dir, "etc/kubernetes/config.yaml"), "x")
			tr, err := trial.New(sources[kubeletName], trial.Store{Dir: filepath.Join(dir, "kept")}, filepath.Join(dir, "etc"), dir)
			lab.Must(t, err)
			dt := n.addTrial(&supervise.Daemon{Name: kubeletName, Cgroup: dir}, tr)
			if tt.good {
				tr.Prove(tr.Next().Number, true)
			}
			tr.Next()
			lab.WriteFile(t, filepath.Join(dir, "memory.events"), tt.kills)
			dt.end(supervise.End{Status: syscall.WaitStatus(syscall.SIGKILL)})
			if dt.ended != tt.wantEnd {
				t.Errorf("the end counts as %q, want %q", dt.ended, tt.wantEnd)
			}
		})
	}
}

func TestExpectsPods(t *testing.T) {
	dir := t.TempDir()
	for _, step := range []struct {
		file, text string
		want       bool
	}{
		{"", "", false},
		{"mine.yaml", "image: example.com/x:1\n", false},
		{"node.yaml", "", false}, // one that was removed
		{"network.yaml", "      image: kios.local/system:1\n", true},
	} {
		if step.file != "" {
			lab.WriteFile(t, filepath.Join(dir, step.file), step.text)
		}
		if got := expectsPods(dir); got != step.want {
			t.Errorf("with %s: %v, want %v", step.file, got, step.want)
		}
	}
	if expectsPods(filepath.Join(dir, "gone")) {
		t.Error("a directory that is not there has pods")
	}
}

func TestPairBeats(t *testing.T) {
	var p pairBeats
	for i, step := range []struct {
		pair [2]int
		want int
	}{{[2]int{0, 0}, 0}, {[2]int{1, 0}, 0}, {[2]int{1, 0}, 0}, {[2]int{1, 2}, 0}, {[2]int{1, 2}, 1}, {[2]int{1, 2}, 2}, {[2]int{3, 2}, 0}, {[2]int{3, 2}, 1}} {
		if got := p.count(step.pair); got != step.want {
			t.Errorf("step %d: %d beats, want %d", i, got, step.want)
		}
	}
}

// A slow machine has more time for its first pod.
func TestPodsBound(t *testing.T) {
	n, _ := node(t)
	if got := n.podsBound(); got != usualTrialBounds.pods {
		t.Errorf("podsBound = %v", got)
	}
	for name, took := range map[string]time.Duration{containerdName: time.Second, kubeletName: 2 * time.Minute} {
		n.trials.put(&daemonTrial{daemon: &supervise.Daemon{Name: name}, took: took})
	}
	if got, want := n.podsBound(), 8*time.Minute; got != want {
		t.Errorf("podsBound = %v, want %v", got, want)
	}
}
