package boot

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/init/supervise"
	"kios/init/systembus"
	"kios/internal/control"
	"kios/internal/datapart"
	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestRewind(t *testing.T) {
	n, _ := node(t)
	var did []string
	step := func(name string) *Step {
		return &Step{Name: name,
			Run:  func(*Node) error { did = append(did, "run "+name); return nil },
			Stop: func(*Node) error { did = append(did, "stop "+name); return nil }}
	}
	mounts := step("mounts")
	n.plan.steps = []*Step{step("a"), mounts, step("b"), {Name: "c", Run: func(*Node) error { return nil }}}
	lab.Must(t, n.forward(0))
	did = nil
	first, err := n.rewind(mounts)
	lab.Must(t, err)
	lab.Must(t, n.forward(first))
	want := []string{"stop b", "stop mounts", "run mounts", "run b"}
	if diff := cmp.Diff(want, did); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if len(n.history.list()) != len(n.plan.steps) {
		t.Errorf("%d steps count as done, want %d: a power-off would leave something running", len(n.history.list()), len(n.plan.steps))
	}
}

func TestRefusals(t *testing.T) {
	n, _ := node(t)
	n.work.data.device = "/dev/vda2"
	if refusal, failure := n.moveToData("/dev/vdb1"); refusal == nil || failure != nil {
		t.Errorf("a second data partition: %v, %v, want a refusal", refusal, failure)
	}
	n.work.data.device, n.work.dataPart = "", "none"
	if refusal, failure := n.moveToData("/dev/vdb1"); refusal == nil || failure != nil {
		t.Errorf("datapart=none: %v, %v, want a refusal", refusal, failure)
	}
	if refusal := n.offerHostname("not_a_name"); refusal == nil {
		t.Error("a bad name is taken")
	}
}

// A pod is given the socket of one kind of request, and gets nothing else there: what it
// sends is taken for that kind, and no other socket is in the same file.
func TestSocketsAreApart(t *testing.T) {
	n, _ := node(t)
	root := t.TempDir()
	go func() {
		for task := range n.inbox.tasks {
			_ = task.run()
		}
	}()
	lab.Must(t, n.listenBelow(root))
	ofDisk, _ := n.moveToData("node_7")
	for socket, want := range map[string]error{control.Hostname: n.offerHostname("node_7"), control.DataPartition: ofDisk, control.OtherMachine: checkWord("node_7")} {
		if err := control.Send(t.Context(), filepath.Join(root, socket), "node_7"); err == nil || err.Error() != want.Error() {
			t.Errorf("%s answers %v, want %v", socket, err, want)
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, control.Dir))
	if err != nil || len(entries) != 4 {
		t.Errorf("%s has %v, %v, want four sockets", control.Dir, entries, err)
	}
}

// A pod may end the node in good time, and says why.
func TestPowerOffForAPod(t *testing.T) {
	root := t.TempDir()
	n, _ := node(t)
	lab.Must(t, n.listenBelow(root))
	socket := filepath.Join(root, control.PowerOff)
	if err := control.Send(t.Context(), socket, "Spot\x1b[2J"); err == nil || !strings.Contains(err.Error(), "is no word") {
		t.Errorf("a reason that is no word: %v", err)
	}
	lab.Must(t, control.Send(t.Context(), socket, "spot-terminate"))
	want := shutdownRequest{action: systembus.PowerOff, cause: "a pod (spot-terminate)"}
	if got := <-n.inbox.shutdowns; got != want {
		t.Errorf("the node is asked for %+v, want %+v", got, want)
	}
	if len(n.inbox.shutdowns) > 0 {
		t.Error("the reason that is no word stops the node, too")
	}
}

// What is no partition is refused, and not opened: a FIFO would hang the node's work,
// and a watchdog would end the node.
func TestMoveOntoAnything(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	lab.Must(t, unix.Mkfifo(fifo, 0o600))
	n, _ := node(t)
	for _, device := range []string{fifo, "/dev/watchdog", "/dev/null", "/dev/../" + fifo, "/dev/loop0", "", "/"} {
		if refusal, failure := n.moveToData(device); refusal == nil || failure != nil {
			t.Errorf("%q: %v, %v, want a refusal", device, refusal, failure)
		}
	}
	if len(n.work.attempted) > 0 {
		t.Errorf("the node tried to move onto %v", n.work.attempted)
	}
}

// Whoever moves a node onto a disk that does not count learns that it does not last.
func TestWarnOfNextBoot(t *testing.T) {
	n, log := node(t)
	found := datapart.Found{Device: "/dev/vda2", Ignored: []datapart.Partition{{Disk: "vdb", Device: "/dev/vdb1"}}}
	n.warnOfNextBoot(found, "/dev/vda2")
	if log.String() != "" {
		t.Errorf("log: %s", log)
	}
	n.warnOfNextBoot(found, "/dev/vdb1")
	if want := "the next boot does not use /dev/vdb1 (PARTUUID="; !strings.Contains(log.String(), want) || !strings.Contains(log.String(), "give datapart=PARTUUID=") {
		t.Errorf("log = %q, want %q", log, want)
	}
}

// A disk that hangs when everything has been stopped ends the node, which then restarts.
func TestMoveHangs(t *testing.T) {
	n, _ := node(t)
	n.moveBound = time.Millisecond
	refusal, failure := n.finishMove("/dev/vda2", func() error { select {} })
	if !errors.Is(failure, errHangs) || refusal == nil {
		t.Errorf("hang: %v, %v, want a failure", refusal, failure)
	}
	n.moveBound = time.Minute
	if refusal, failure := n.finishMove("/dev/vda2", func() error { panic("ouch") }); failure == nil || refusal == nil {
		t.Errorf("panic: %v, %v, want a failure", refusal, failure)
	}
	if refusal, failure := n.finishMove("/dev/vda2", func() error { return errNotSeeded }); failure != nil || refusal == nil {
		t.Errorf("the node is in memory again: %v, %v, want a refusal", refusal, failure)
	}
	if refusal, failure := n.finishMove("/dev/vda2", func() error { return errStopping }); failure != nil || refusal == nil {
		t.Errorf("the node stops: %v, %v, want a refusal", refusal, failure)
	}
}

// Daemons that have been stopped for a move leave nothing open.
func TestForgottenDaemonsAreClosed(t *testing.T) {
	n, _ := node(t)
	output, err := supervise.NewOutput(io.Discard)
	lab.Must(t, err)
	drained := make(chan struct{})
	go func() { output.Drain(); close(drained) }()
	socket, err := listen(filepath.Join(t.TempDir(), "socket"))
	lab.Must(t, err)
	n.daemons.add(&supervise.Daemon{Name: "a", Output: output, Files: []*os.File{socket}})
	n.daemons.forget()
	<-drained
	if err := socket.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the socket was open: %v", err)
	}
}

func TestDriverless(t *testing.T) {
	sys := t.TempDir()
	for device, files := range map[string]map[string]string{
		"0000:00:01.0": {"class": "0x010400\n", "modalias": "pci:v00001000d0000005Dsv*bc01sc04i00\n"},
		"0000:00:02.0": {"class": "0x010802\n", "modalias": "pci:nvme\n", "driver/bind": ""},
		"0000:00:03.0": {"class": "0x020000\n", "modalias": "pci:network\n"},
		"0000:00:04.0": {"class": "0x080501\n", "modalias": "pci:sdhci\n"},
	} {
		for name, text := range files {
			lab.WriteFile(t, filepath.Join(sys, "bus/pci/devices", device, name), text)
		}
	}
	if diff := cmp.Diff([]string{"pci:v00001000d0000005Dsv*bc01sc04i00", "pci:sdhci", "mmc:block"}, driverless(sys)); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
}

func TestCopyMissing(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "meta", "etc")
	for name, mode := range map[string]os.FileMode{"machine-id": 0o444, "kubernetes/pki/ca.key": 0o600, "hosts": 0o644} {
		path := filepath.Join(from, name)
		lab.Must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("new"), mode)))
	}
	if err := errors.Join(os.Symlink("hosts", filepath.Join(from, "link")),
		os.MkdirAll(to, 0o755), os.WriteFile(filepath.Join(to, "hosts"), []byte("old"), 0o644)); err != nil {
		t.Fatal(err)
	}
	lab.Must(t, copyMissing(to, from))
	for name, want := range map[string]string{"machine-id": "new", "kubernetes/pki/ca.key": "new", "hosts": "old", "link": "old"} {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v, want %q", name, got, err, want)
		}
	}
	if info, err := os.Stat(filepath.Join(to, "kubernetes/pki/ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ca.key: %v, %v, want mode 0600", info, err)
	}
	if err := copyMissing(filepath.Join(to, "x"), filepath.Join(from, "no-such")); err != nil {
		t.Errorf("copy of nothing: %v", err)
	}
}

// A copy that fails halfway leaves nothing that the next boot would use.
func TestSeed(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "meta", "etc")
	lab.WriteFile(t, filepath.Join(from, "hosts"), "new")
	lab.WriteFile(t, filepath.Join(from, "kubernetes/node-ip"), "new")
	for _, hosts := range []string{"", "old"} {
		if hosts != "" {
			lab.WriteFile(t, filepath.Join(to, "hosts"), hosts)
		}
		// No name of a copy may be so long, wherever it is made.
		long := filepath.Join(from, "z")
		lab.WriteFile(t, filepath.Join(long, strings.Repeat("x", 250)), "")
		if err := seed(to, from); err == nil {
			t.Fatal("a file was copied to a name that is too long")
		}
		if _, err := os.Lstat(filepath.Join(to, "kubernetes")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("half of it is there: %v", err)
		}
		lab.Must(t, os.RemoveAll(long))
	}
	lab.Must(t, seed(to, from))
	for name, want := range map[string]string{"hosts": "old", "kubernetes/node-ip": "new"} {
		if got := lab.ReadFile(t, filepath.Join(to, name)); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(to)); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
	lab.Must(t, seed(filepath.Join(to, "x"), filepath.Join(from, "no-such")))
}

func TestTreeSize(t *testing.T) {
	dir := t.TempDir()
	lab.WriteFile(t, filepath.Join(dir, "a/b"), strings.Repeat("x", 5000))
	bytes, files, err := treeSize(dir, filepath.Join(dir, "no-such"))
	if err != nil || files != 3 || bytes < 5000 || bytes > 1<<20 {
		t.Errorf("treeSize = %d, %d, %v", bytes, files, err)
	}
	if !hasRoom(dir, 0, 0) || hasRoom(dir, 1<<60, 0) {
		t.Error("a place for what does not fit")
	}
}

func TestDemandSound(t *testing.T) {
	super := func(state byte, compat byte) []byte {
		s := make([]byte, 2048)
		s[1024+0x38], s[1024+0x39], s[1024+0x3a], s[1024+0x5c] = 0x53, 0xef, state, compat
		return s
	}
	for _, tt := range []struct {
		name  string
		super []byte
		want  bool
	}{
		{"clean, journal", super(1, 4), true},
		{"mounted when power went, journal", super(0, 4), true},
		{"mounted when power went, no journal", super(0, 0), false},
		{"errors", super(3, 4), false},
		{"no ext4", make([]byte, 2048), true},
	} {
		device := filepath.Join(t.TempDir(), "vda2")
		lab.Must(t, os.WriteFile(device, tt.super, 0o600))
		if err := demandSound(device); (err == nil) != tt.want {
			t.Errorf("%s: %v, want sound %v", tt.name, err, tt.want)
		}
	}
}

// TestRewindTarget holds that what must not be started twice comes before the step
// that a move goes back to, and that it goes back to the logs first.
func TestRewindTarget(t *testing.T) {
	p := bootPlan()
	index := func(s *Step) int { return slices.Index(p.steps, s) }
	var before []string
	for _, s := range p.steps[:max(index(p.mounts), 0)] {
		before = append(before, s.Name)
	}
	for _, name := range []string{"notify", "control", "reaper"} {
		if !slices.Contains(before, name) {
			t.Errorf("%s is not before the step mounts, but %v", name, before)
		}
	}
	if index(p.logs) <= index(p.mounts) {
		t.Errorf("logs is step %d, mounts is step %d", index(p.logs), index(p.mounts))
	}
}
