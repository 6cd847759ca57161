package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"kios/init/kmsg"
	"kios/init/mount"
	"kios/init/notify"
	"kios/init/signals"
	"kios/init/supervise"
	"kios/init/systembus"
	"kios/init/systemsock"
	"kios/test/lab"
)

// busNode is a node with a bus, and a client of it. Only root's calls are taken.
func busNode(t *testing.T) (*Node, *lab.Buffer, *dbus.Conn) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may take locks")
	}
	n, _ := node(t)
	log := &lab.Buffer{}
	n.Log.SetWriter(log)
	path := filepath.Join(t.TempDir(), "bus")
	server, err := systembus.Listen(path, systembus.Host{Log: n.Log, Stop: n.stopFor})
	lab.Must(t, err)
	n.bus.Store(server)
	go server.Run()
	t.Cleanup(func() { server.Close() })
	c, err := dbus.Connect("unix:path=" + path)
	lab.Must(t, err)
	t.Cleanup(func() { c.Close() })
	return n, log, c
}

func lock(t *testing.T, c *dbus.Conn, who string) int {
	t.Helper()
	var fd dbus.UnixFD
	err := c.Object("org.freedesktop.login1", "/org/freedesktop/login1").Call("org.freedesktop.login1.Manager.Inhibit", 0, "shutdown", who, "test", "delay").Store(&fd)
	lab.Must(t, err)
	return int(fd)
}

func demand(t *testing.T, log *lab.Buffer, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

// TestAwaitLocks has one client that lets go when it hears of the shutdown, and
// one that never does.
func TestAwaitLocks(t *testing.T) {
	n, log, c := busNode(t)
	kubelet := lock(t, c, "kubelet")
	signals := make(chan *dbus.Signal, 10)
	c.Signal(signals)
	lab.Must(t, c.AddMatchSignal(dbus.WithMatchMember("PrepareForShutdown")))
	go func() {
		for s := range signals {
			if s.Name != "org.freedesktop.login1.Manager.PrepareForShutdown" {
				continue
			}
			for !strings.Contains(log.String(), "waiting for kubelet") { // the signal is sent before that
				time.Sleep(time.Millisecond)
			}
			unix.Close(kubelet)
			return
		}
	}()
	if o := n.shutdown(shutdownRequest{action: systembus.Halt, cause: "a test"}); o.Action != systembus.Halt {
		t.Errorf("outcome = %+v, want a halt", o)
	}
	demand(t, log, "stopping, as a test asks", "waiting for kubelet (process ", "): test, at most 35s", "let go after", "stop announce", "halting")
}

func TestHeldUp(t *testing.T) {
	n, log, c := busNode(t)
	defer unix.Close(lock(t, c, "stubborn"))
	n.awaitLocks(n.bus.Load().Delays(), 10*time.Millisecond)
	demand(t, log, "<4>kios: warning: stubborn (process ", "did not let go within 10ms: the node stops without it")
}

// TestAwaitReports has a kubelet that is done with its pods in time, and one that
// is not.
func TestAwaitReports(t *testing.T) {
	n, _ := node(t)
	log := &lab.Buffer{}
	n.Log.SetWriter(log)
	cgroups := t.TempDir()
	pod := filepath.Join(cgroups, "kubepods/burstable/pod1")
	lab.Must(t, os.MkdirAll(pod, 0o755))
	n.awaitReports(cgroups, 10*time.Millisecond)
	demand(t, log, "<4>kios: warning: the kubelet is not done with all pods within 10ms (left: 1)")
	n.daemons.add(&supervise.Daemon{Name: kubeletName}) // one that has ended
	begun := time.Now()
	n.awaitReports(cgroups, time.Minute)
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("a kubelet that has ended is waited for: %v", took)
	}
	demand(t, log, "the kubelet has ended before all pods were done (left: 1)")
	n.daemons.forget()
	go os.Remove(pod)
	n.awaitReports(cgroups, time.Minute)
	demand(t, log, "the kubelet was done with all pods after another ")
}

// Whoever looks at the console of a node whose cluster is away sees why it takes long.
func TestAwaitReportsSays(t *testing.T) {
	cgroups := t.TempDir()
	lab.Must(t, os.MkdirAll(filepath.Join(cgroups, "kubepods/pod1"), 0o755))
	synctest.Test(t, func(t *testing.T) {
		log := &lab.Buffer{}
		n := &Node{Log: kmsg.New(log), immediate: newLatch()} // without goroutines, which would not end
		n.awaitReports(cgroups, 65*time.Second)
		const line = "<5>kios: waiting for the kubelet to tell the cluster how pods ended (left: 1), at most 1m5s in all\n"
		if got := strings.Count(log.String(), line); got != 3 {
			t.Errorf("in 65 seconds, the line comes %d times:\n%s", got, log)
		}
	})
}

func TestImmediate(t *testing.T) {
	n, log, c := busNode(t)
	defer unix.Close(lock(t, c, "stubborn"))
	done := make(chan Outcome)
	go func() { done <- n.shutdown(shutdownRequest{action: systembus.PowerOff, cause: "a test"}) }()
	<-n.stopping.done()
	n.inbox.signals <- signals.PowerButton
	n.receiveByte(systemsock.Stop)
	n.receiveByte(systemsock.GoOn)
	n.receiveByte(systemsock.GoOn)
	<-done
	demand(t, log, "waiting for nobody any more, as a client of /run/system.sock asks", "stopping already (a client of /run/system.sock)")
}

// TestStopWithoutWaiting is 0x02 out of nowhere.
func TestStopWithoutWaiting(t *testing.T) {
	n, _, c := busNode(t)
	defer unix.Close(lock(t, c, "stubborn"))
	n.receiveByte(systemsock.GoOn)
	n.shutdown(<-n.inbox.shutdowns)
	if !n.immediate.isSet() {
		t.Error("the shutdown waits")
	}
}

func TestRequestsWhileStopping(t *testing.T) {
	n, _ := node(t)
	n.stopping.set()
	if err := n.serialize(func() (refusal, failure error) { return nil, nil }); !errors.Is(err, errStopping) {
		t.Errorf("serialize = %v, want %v", err, errStopping)
	}
	n.daemons.add(&supervise.Daemon{Name: "kubelet"})
	if err := n.restartUnit(systembus.Kubelet, "a test"); !errors.Is(err, errStopping) {
		t.Errorf("restartUnit = %v, want %v", err, errStopping)
	}
	for range 100 { // nobody listens
		n.requestShutdown(shutdownRequest{})
	}
}

// TestHangs has a step that never ends.
func TestHangs(t *testing.T) {
	if err := within(time.Millisecond, func() error { select {} }); !errors.Is(err, errHangs) {
		t.Errorf("within = %v, want %v", err, errHangs)
	}
	if err := within(time.Minute, func() error { return os.ErrClosed }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("within = %v", err)
	}
}

// What hangs takes its bound once, all together, and is named.
func TestInParallel(t *testing.T) {
	var mounts []mount.Info
	for i := range 30 {
		mounts = append(mounts, mount.Info{Device: fmt.Sprint("0:", i), Source: "server:/x", Target: fmt.Sprint("/mnt/", i), Type: "nfs4"})
	}
	synctest.Test(t, func(t *testing.T) {
		start, over, hung := time.Now(), make(chan struct{}), map[string]bool{}
		err := inParallel(mounts, otherBound, hung, func(m mount.Info) error {
			if m.Device == "0:0" {
				return os.ErrPermission
			}
			<-over
			return nil
		})
		if took := time.Since(start); took != otherBound || !errors.Is(err, errHangs) || !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "server:/x on /mnt/29: ") {
			t.Errorf("after %v: %v", took, err)
		}
		if left := unmountOnce(mounts[1:], hung, time.Now().Add(time.Hour)); len(left) != 29 || hung["0:0"] {
			t.Errorf("%d mounts that hang were left alone, want 29", len(left))
		}
		close(over)
	})
}

// A file system is written to a disk if the kernel writes it; each is synced once.
func TestDisksOf(t *testing.T) {
	infos := []mount.Info{
		{Device: "254:2", Source: "/dev/vda2", Target: "/var/meta", Type: "ext4"},
		{Device: "254:2", Source: "/dev/vda2", Target: "/var/lib", Type: "ext4"},
		{Device: "0:40", Source: "/dev/fuse", Target: "/mnt/fuse", Type: "fuse.x"},
		{Device: "0:41", Source: "server:/x", Target: "/mnt/nfs", Type: "nfs"},
		{Device: "259:0", Source: "/dev/nvme0n1", Target: "/mnt/disk", Type: "xfs"},
	}
	var got []string
	for _, m := range disksOf(infos) {
		got = append(got, m.Target)
	}
	if strings.Join(got, " ") != "/var/meta /mnt/disk" {
		t.Errorf("disks: %q", got)
	}
}

// TestPatience holds which steps of the shutdown may take longer than others.
func TestPatience(t *testing.T) {
	n, _ := node(t)
	want := map[string]time.Duration{"announce": 40 * time.Second, "containers": 30 * time.Second, "mounts": 135 * time.Second}
	for _, s := range append(bootPlan().steps, announceStep(systembus.PowerOff)) {
		if got := s.patience(n); got != want[s.Name] {
			t.Errorf("patience of %s = %v, want %v", s.Name, got, want[s.Name])
		}
	}
}

func TestGrace(t *testing.T) {
	n, log := node(t)
	n.receive("kubelet", notify.Message{Kind: notify.ShutdownGrace, Took: 2 * time.Minute})
	if got := n.lockBound(); got != 2*time.Minute+lockMargin || !strings.Contains(log.String(), "the kubelet gives pods 2m0s") {
		t.Errorf("lockBound = %v; the log says %q", got, log)
	}
}

func TestUnit(t *testing.T) {
	n, _ := node(t)
	want := systembus.Unit{Description: "the Kubernetes node agent", Active: "inactive", Sub: "dead"}
	if got := n.unit(systembus.Kubelet); got != want {
		t.Errorf("before it is started: %+v", got)
	}
	n.daemons.add(&supervise.Daemon{Name: "kubelet"})
	want.Active, want.Sub = "activating", "auto-restart"
	if got := n.unit(systembus.Kubelet); got != want {
		t.Errorf("between two starts: %+v", got)
	}
	if err := n.restartUnit(systembus.Containerd, "a test"); err == nil {
		t.Error("what has not been started can be restarted")
	}
}

func TestWriteHostname(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hostname")
	for _, name := range []string{"", "node1", "node2", ""} {
		lab.Must(t, writeHostname(file, name))
		text, err := os.ReadFile(file)
		if name == "" && !errors.Is(err, os.ErrNotExist) || name != "" && string(text) != name+"\n" {
			t.Errorf("after %q the file is %q, %v", name, text, err)
		}
	}
	n, _ := node(t)
	if err := n.setStaticHostname("no_name", "a test"); err == nil {
		t.Error("a name that is none is taken")
	}
}

// A client of the old socket may ask for a restart as often as it likes.
func TestRestartsDoNotPileUp(t *testing.T) {
	n, _ := node(t)
	log := &lab.Buffer{}
	n.Log.SetWriter(log)
	n.restarting.Store(systembus.Kubelet, true) // one has not ended yet
	for range 100 {
		n.receiveByte(systemsock.RestartKubelet)
	}
	n.receiveByte(systemsock.RestartRuntime)
	lab.Until(t, long, "the other daemon", func() bool {
		return strings.Contains(log.String(), "restart containerd.service: it has not been started")
	})
	if strings.Contains(log.String(), systembus.Kubelet) {
		t.Errorf("another restart was begun:\n%s", log)
	}
	n.restarting.Delete(systembus.Kubelet)
	n.receiveByte(systemsock.RestartKubelet)
	lab.Until(t, long, "the kubelet", func() bool { return strings.Contains(log.String(), "restart kubelet.service: it has not been started") })
}
