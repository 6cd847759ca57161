package boot

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kios/init/mount"
	"kios/init/notify"
	"kios/init/signals"
	"kios/init/systembus"
	"kios/init/timeline"
	"kios/internal/cmdline"
	"kios/internal/logfile"
	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
)

// node returns a Node that logs into the buffer.
func node(t *testing.T) (*Node, *bytes.Buffer) {
	var log bytes.Buffer
	n := New(signals.Caught{Stop: make(chan os.Signal, 8)})
	n.Log.SetWriter(&log)
	n.Timeline = timeline.New(filepath.Join(t.TempDir(), "boot.json"))
	return n, &log
}

func TestSteps(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range bootPlan().steps {
		if strings.ContainsAny(s.Name, " \t") || s.Name == "" || seen[s.Name] {
			t.Errorf("step %q: a name is one word and comes once", s.Name)
		}
		seen[s.Name] = true
		if s.Run == nil && s.Stop == nil {
			t.Errorf("step %s does nothing", s.Name)
		}
	}
}

// TestStopIsTheReverse runs a list of its own in place of the real one.
func TestStopIsTheReverse(t *testing.T) {
	n, log := node(t)
	var did []string
	do := func(what string, err error) func(*Node) error {
		return func(*Node) error { did = append(did, what); return err }
	}
	for _, s := range []*Step{
		{Name: "a", Run: do("run a", nil), Stop: do("stop a", nil)},
		{Name: "b", Run: do("run b", errors.New("broken")), Stop: do("stop b", errors.New("stuck"))},
		{Name: "c", Stop: func(*Node) error { did = append(did, "stop c"); panic("ouch") }},
		{Name: "d", Run: do("run d", nil)},
	} {
		n.runStep(s)
	}
	if o := n.shutdown(shutdownRequest{action: systembus.Reboot, cause: "somebody"}); o.Action != systembus.Reboot || o.Failure != nil {
		t.Errorf("outcome = %+v, want a restart", o)
	}
	want := []string{"run a", "run b", "run d", "stop c", "stop b", "stop a"}
	if diff := cmp.Diff(want, did); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	for _, want := range []string{
		"<5>kios: step a 0 ms\n", "<3>kios: error: step b failed: broken\n", "stopping, as somebody asks",
		"<3>kios: error: stop b: stuck\n", "<3>kios: error: stop c: panic: ouch\n", "<5>kios: stop a 0 ms\n",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q:\n%s", want, log)
		}
	}
}

func TestRun(t *testing.T) {
	ok := func(*Node) error { return nil }
	broken := func(*Node) error { return errors.New("broken") }
	tests := []struct {
		name    string
		step    Step
		failure string // "" for a power-off
	}{
		{"power button", Step{Name: "a", Required: true, Run: ok}, ""},
		{"optional step fails", Step{Name: "a", Run: broken}, ""},
		{"required step fails", Step{Name: "a", Required: true, Run: broken, Remedy: "mend it"}, "step a: broken"},
		{"step panics", Step{Name: "a", Run: func(*Node) error { panic("ouch") }}, "panic in work: ouch"},
		{"goroutine panics", Step{Name: "a", Run: func(n *Node) error {
			n.spawn("b", func() { panic("ouch") })
			select {}
		}}, "panic in b: ouch"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, _ := node(t)
			stopped := false
			n.plan.steps = []*Step{&tt.step, {Name: "last", Stop: func(*Node) error { stopped = true; return nil }}}
			if tt.failure == "" {
				n.inbox.signals <- signals.PowerButton
			}
			o := n.Run()
			if tt.failure == "" && (o.Failure != nil || !stopped) {
				t.Errorf("outcome = %+v, stopped %v, want a power-off", o, stopped)
			}
			if tt.failure != "" && (o.Failure == nil || !strings.Contains(o.Failure.Error(), tt.failure) || o.Remedy == "") {
				t.Errorf("outcome = %+v, want %q and a remedy", o, tt.failure)
			}
		})
	}
}

// A step that hangs ends the boot: nobody is there to see it.
func TestBootHangs(t *testing.T) {
	n, _ := node(t)
	n.bootBound = 20 * time.Millisecond
	// For ever: a step that ended with the test would go on with the boot, and write files
	// while the test's directory is removed.
	n.plan.steps = []*Step{{Name: "a", Run: func(*Node) error { return nil }}, {Name: "stuck", Run: func(*Node) error { select {} }}}
	o := n.Run()
	if o.Failure == nil || !strings.Contains(o.Failure.Error(), "the step stuck: it hangs") || o.Remedy != hangRemedy {
		t.Errorf("outcome = %+v, want a failure that names the step", o)
	}
}

// The bound is that of the boot, not of what runs later.
func TestBootEnds(t *testing.T) {
	n, _ := node(t)
	n.bootBound = 200 * time.Millisecond
	n.plan.steps = nil
	ended := make(chan Outcome)
	go func() { ended <- n.Run() }()
	lab.Must(t, n.serialize(func() (refusal, failure error) { time.Sleep(2 * n.bootBound); return nil, nil }))
	n.requestShutdown(shutdownRequest{action: systembus.Halt, cause: "somebody"})
	if o := <-ended; o.Failure != nil {
		t.Errorf("outcome = %+v, want a halt", o)
	}
}

func TestWithinPanics(t *testing.T) {
	if err := within(long, func() error { panic("ouch") }); err == nil || !strings.Contains(err.Error(), "ouch") {
		t.Errorf("within = %v, want the panic", err)
	}
}

// A boot that fails does not undo an earlier request to stop.
func TestStopWhileTheBootFails(t *testing.T) {
	n, log := node(t)
	stopped := false
	n.plan.steps = []*Step{
		{Name: "a", Stop: func(*Node) error { stopped = true; return nil }},
		{Name: "b", Required: true, Run: func(n *Node) error {
			n.requestShutdown(shutdownRequest{cause: "somebody"})
			for len(n.inbox.shutdowns) > 0 { // until it has been heard
				time.Sleep(time.Millisecond)
			}
			return errors.New("broken")
		}},
	}
	if o := n.Run(); o.Failure != nil || !stopped || !strings.Contains(log.String(), "step b: broken; the node stops all the same") {
		t.Errorf("outcome = %+v, stopped %v: %s", o, stopped, log)
	}
}

// A move leaves what is left to stop to a shutdown that begins meanwhile.
func TestRewindWhileStopping(t *testing.T) {
	n, _ := node(t)
	rewound := false
	a := &Step{Name: "a"}
	n.history.steps = []*Step{
		a,
		{Name: "b", Stop: func(n *Node) error { n.stopping.set(); return nil }},
		{Name: "c", Stop: func(*Node) error { rewound = true; return nil }},
	}
	n.work.data.device = "/dev/vda2"
	first, err := n.rewind(a)
	if !errors.Is(err, errStopping) || first != 1 || !rewound || len(n.history.list()) != 3 || n.work.data.device == "" {
		t.Errorf("rewound to step %d, of %d; data on %q; error %v", first, len(n.history.list()), n.work.data.device, err)
	}
}

// An immediate shutdown does not wait for what the node is doing.
func TestImmediateWhileSomethingHangs(t *testing.T) {
	n, log := node(t)
	n.plan.steps = []*Step{{Name: "a", Run: func(*Node) error {
		n.requestShutdown(shutdownRequest{cause: "somebody"})
		n.requestShutdown(shutdownRequest{cause: "somebody else", immediate: true})
		select {}
	}}}
	start := time.Now()
	if o := n.Run(); o.Failure != nil || !n.immediate.isSet() || time.Since(start) > n.workBound/2 {
		t.Errorf("outcome = %+v after %v, immediate %v: %s", o, time.Since(start), n.immediate.isSet(), log)
	}
}

// A disk that hangs does not keep the node from stopping.
func TestStopWhileSomethingHangs(t *testing.T) {
	for name, boots := range map[string]bool{"the boot": true, "a request": false} {
		t.Run(name, func(t *testing.T) {
			n, log := node(t)
			n.workBound = 50 * time.Millisecond
			n.options.Store(&cmdline.Options{})
			began, hangs, later, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{}), false
			hang := func(*Node) error { close(began); <-hangs; return nil }
			n.plan.steps = []*Step{{Name: "a", Stop: func(*Node) error { stopped = true; return nil }}}
			more := []*Step{{Name: "b", Run: hang}, {Name: "c", Run: func(*Node) error { close(later); return nil }}}
			if boots {
				n.plan.steps = append(n.plan.steps, more...)
			} else {
				go n.serialize(func() (refusal, failure error) {
					n.plan.steps = more
					return nil, n.forward(0)
				})
			}
			go func() {
				<-began
				n.inbox.signals <- signals.PowerButton
			}()
			o := n.Run()
			if o.Failure != nil || !stopped {
				t.Errorf("outcome = %+v, stopped %v, want a power-off", o, stopped)
			}
			for _, want := range []string{"the power button asks the node to stop: it first ends what it is doing", "what the node was doing has not ended"} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("log lacks %q:\n%s", want, log)
				}
			}
			close(hangs)
			select {
			case <-later:
				t.Error("what was left to do was done while the node stopped")
			case <-time.After(20 * time.Millisecond):
			}
		})
	}
}

func TestSpawnReportsPanic(t *testing.T) {
	n, _ := node(t)
	n.spawn("test", func() { panic("ouch") })
	err := <-n.inbox.crashes
	if !strings.Contains(err.Error(), "panic in test: ouch") || !strings.Contains(err.Error(), "boot_test.go") {
		t.Errorf("error = %v", err)
	}
	n.options.Store(&cmdline.Options{StayUp: true})
	if o := n.failure(err, ""); !o.StayUp || o.Failure == nil || o.Remedy == "" {
		t.Errorf("outcome = %+v", o)
	}
}

// TestMountFlags holds the rule: nosuid everywhere, nodev everywhere but where
// devices are, exec only where Kubernetes runs programs from.
func TestMountFlags(t *testing.T) {
	mayExec := map[string]bool{"/dev/hugepages": true}
	mayDev := map[string]bool{"/dev": true, "/dev/pts": true}
	rows := append(append([]mount.Row{run}, first...), pseudo...)
	for _, r := range append(rows, tmpfs...) {
		if r.Flags&mount.NoSuid == 0 {
			t.Errorf("%s lacks nosuid", r)
		}
		if r.Flags&mount.NoExec == 0 && !mayExec[r.Target] {
			t.Errorf("%s lacks noexec", r)
		}
		if r.Flags&mount.NoDev == 0 && !mayDev[r.Target] {
			t.Errorf("%s lacks nodev", r)
		}
		if r.Why == "" {
			t.Errorf("%s has no reason", r)
		}
	}
	for _, p := range places {
		if p.flags&mount.Strict != mount.Strict && p.to != podsDir {
			t.Errorf("%s lacks nosuid, nodev or noexec", p.to)
		}
	}
}

func TestTooFull(t *testing.T) {
	const mib, block = 1 << 20, 4096
	blocks := func(n uint64) uint64 { return n * mib / block }
	tests := []struct {
		size, free uint64 // MiB
		inodes     uint64
		want       bool
	}{
		{4096, 4000, 1000, false},
		{4096, 31, 1000, true},
		{4096, 33, 1000, false},
		{4096, 4000, 255, true},
		{100, 6, 1000, false},
		{100, 4, 1000, true},
	}
	for _, tt := range tests {
		if got := tooFull(block, blocks(tt.size), blocks(tt.free), 10000, tt.inodes); got != tt.want {
			t.Errorf("tooFull with %d of %d MiB and %d inodes = %v, want %v", tt.free, tt.size, tt.inodes, got, tt.want)
		}
	}
}

func TestStays(t *testing.T) {
	for target, want := range map[string]bool{
		"/": true, "/dev/shm": true, "/sys/fs/cgroup": true, "/run": true,
		"/run/kios/images": false, "/var": false, "/etc": false, "/system": false, "/var/lib/kubelet/pods": false,
	} {
		if got := stays(mount.Info{Target: target}); got != want {
			t.Errorf("stays(%s) = %v, want %v", target, got, want)
		}
	}
}

// What the kernel kept is told, and kept for good before its place is freed.
func TestMoveRecords(t *testing.T) {
	n, log := node(t)
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "pstore.log")
	const text = "Panic#1 Part1\n<0>[ 1.5] Kernel panic - not syncing: a test\n"
	lab.WriteFile(t, filepath.Join(dir, "dmesg-efi_pstore-1"), text)
	n.moveRecords(dir, logfile.New(filepath.Join(to, "missing", "x"), 1000, 2), true)
	if _, err := os.Stat(filepath.Join(dir, "dmesg-efi_pstore-1")); err != nil {
		t.Errorf("a record that could not be kept is gone: %v", err)
	}
	n.moveRecords(dir, logfile.New(to+".memory", 1000, 2), false)
	if _, err := os.Stat(filepath.Join(dir, "dmesg-efi_pstore-1")); err != nil {
		t.Errorf("what is only in memory is gone from the firmware: %v", err)
	}
	n.moveRecords(dir, logfile.New(to, 1000, 2), true)
	if got, want := lab.ReadFile(t, to), "(kios: dmesg-efi_pstore-1)\n"+text; got != want {
		t.Errorf("the log holds %q, want %q", got, want)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if want := "<4>kios: warning: an earlier boot has left dmesg-efi_pstore-1: Kernel panic - not syncing: a test\n"; !strings.Contains(log.String(), want) {
		t.Errorf("log lacks %q:\n%s", want, log)
	}
}

func TestReceive(t *testing.T) {
	n, log := node(t)
	for _, m := range []notify.Message{
		{Kind: notify.Ready},
		{Kind: notify.ImageImported, Archive: "a.tar", Took: 120 * time.Millisecond},
		{Kind: notify.ImageFailed, Archive: "b.tar", Error: "no manifest"},
		{Kind: notify.ContainerStarted, Namespace: "ns", Pod: "p", Container: "c"},
		{Kind: notify.ContainerExited, Namespace: "ns", Pod: "p", Container: "c", Exit: 3},
	} {
		n.receive("containerd", m)
	}
	n.Timeline.Close()
	n.receive("containerd", notify.Message{Kind: notify.ContainerStarted, Namespace: "ns", Pod: "late", Container: "c"})
	want := "<5>kios: containerd ready\n" +
		"<5>kios: image a.tar imported 120 ms\n" +
		"<3>kios: error: image b.tar is skipped: no manifest\n" +
		"<5>kios: pod ns/p container c started\n" +
		"<5>kios: pod ns/p container c exited with code 3\n" +
		"<6>kios: pod ns/late container c started\n"
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "x.sock")
	for range 2 { // a socket that is there already is replaced
		f, err := listen(path)
		lab.Must(t, err)
		defer f.Close()
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode()&fs.ModeSocket == 0 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
}

func TestRequestOf(t *testing.T) {
	for sig, want := range map[syscall.Signal]shutdownRequest{
		38:              {action: systembus.PowerOff, cause: "the power button"},
		syscall.SIGINT:  {action: systembus.Reboot, cause: "Ctrl-Alt-Del"},
		syscall.SIGTERM: {action: systembus.PowerOff, cause: "SIGTERM"},
	} {
		if got := requestOf(sig); got != want {
			t.Errorf("requestOf(%d) = %+v, want %+v", sig, got, want)
		}
	}
}

// What runs is to have the kernel's parameters, the user's in /etc included.
func TestSysctlsBeforeDaemons(t *testing.T) {
	var names []string
	for _, s := range bootPlan().steps {
		names = append(names, s.Name)
	}
	etc, sysctls, first := slices.Index(names, "etc"), slices.Index(names, "sysctls"), slices.Index(names, "containerd")
	if etc < 0 || sysctls < etc || first < sysctls {
		t.Errorf("the steps are %v", names)
	}
}

func TestReportsOfLife(t *testing.T) {
	n, log := node(t)
	n.receive(kubeletName, notify.Message{Alive: true})
	if log.String() != "" || len(n.Timeline.Table()) > 1 {
		t.Errorf("a report that all is well is logged: %s%v", log, n.Timeline.Table())
	}
	if env := environment("/bin"); !slices.Contains(env, "WATCHDOG_USEC=60000000") {
		t.Errorf("daemons are not asked to report: %v", env)
	}
	if missed := watchdogBound/(watchdogTold/2) - 1; missed < 3 {
		t.Errorf("a daemon is ended after %d missed reports, want 3", missed)
	}
	n.restartFor(kubeletName)
	want := shutdownRequest{action: systembus.Reboot, cause: "kubelet, which hangs in the kernel,"}
	if got := <-n.inbox.shutdowns; got != want {
		t.Errorf("a daemon that hangs in the kernel asks for %+v, want %+v", got, want)
	}
}

func TestRatherKill(t *testing.T) {
	sys := t.TempDir()
	if err := ratherKill(sys); err == nil {
		t.Error("no error of a kernel that cannot do it")
	}
	file := filepath.Join(sys, "kernel/mm/lru_gen/min_ttl_ms")
	lab.Must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	lab.WriteFile(t, file, "0\n")
	if err := ratherKill(sys); err != nil || lab.ReadFile(t, file) != "1000" {
		t.Errorf("ratherKill = %v, min_ttl_ms = %q", err, lab.ReadFile(t, file))
	}
	list := filepath.Join(sys, "devices/system/node/has_memory")
	lab.Must(t, os.MkdirAll(filepath.Dir(list), 0o755))
	for has, want := range map[string]string{"0\n": "1000", "1\n": "1000", "0-1\n": "0\n", "0,2\n": "0\n"} {
		lab.WriteFile(t, file, "0\n")
		lab.WriteFile(t, list, has)
		if err := ratherKill(sys); err != nil || lab.ReadFile(t, file) != want {
			t.Errorf("with memory on %q: ratherKill = %v, min_ttl_ms = %q, want %q", has, err, lab.ReadFile(t, file), want)
		}
	}
}
