package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
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
	n.trials.bounds = trialBounds{ready: time.Minute, stay: 10 * time.Millisecond, pods: time.Hour, poll: time.Millisecond}
	n.trials.manifests = b.path("etc/kubernetes/manifests")
	server, err := notify.Listen(b.path("notify"))
	lab.Must(t, err)
	server.Sender, server.Receive, server.Refuse = n.daemons.sender, n.receive, t.Logf
	go server.Run(t.Logf)
	go n.reaper.Run()
	t.Cleanup(func() { n.stopping.set(); server.Close(); n.reaper.Close() })
	return b
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
	output, err := supervise.NewOutput(&lab.Buffer{})
	lab.Must(b.t, err)
	go output.Drain()
	d := &supervise.Daemon{Name: name, Output: output, Reaper: b.reaper, Log: b.Log}
	tr, err := trial.New(sources, trial.Store{Dir: b.path("kept/" + name), File: b.path(name + "-files.json")}, b.path("etc"), b.path("none"))
	lab.Must(b.t, err)
	dt := b.addTrial(d, tr)
	d.Prepare = func() (argv, env []string) {
		return []string{"/proc/self/exe", "daemon", daemonFiles[name]},
			append(os.Environ(), "NOTIFY_SOCKET="+b.path("notify"), etcVariable+"="+b.nextStart(dt))
	}
	lab.Must(b.t, b.startDaemon(d))
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
	demand(t, b.log, "the kubelet works with the files in /etc again")
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
	lab.WriteFile(t, b.path("etc/kubernetes/manifests/network.yaml"), "spec:\n  containers:\n    - image: kios.local/system:1\n")
	b.trials.bounds.pods = 200 * time.Millisecond
	b.write(containerdName, "odd")
	b.write(kubeletName, "odd")
	b.run(containerdName)
	b.run(kubeletName)
	b.await(containerdName, trial.NoFiles)
	if r := b.rejected()[containerdName]; !strings.Contains(r.Error, "no container was started within") || !strings.Contains(r.Error, "no sandbox for you") {
		t.Errorf("rejection = %+v", r)
	}
	b.await(kubeletName, trial.NoFiles)
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
				tr.Prove(tr.Next().Number)
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
