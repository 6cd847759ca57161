//go:build root

package boot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kios/init/mount"
	"kios/internal/instance"
	"kios/internal/logfile"
	"kios/test/lab"
)

// inNamespace has a test run once more, as PID 1 of a PID namespace and with mounts of
// its own, and reports whether this is that run: there, it cannot end or unmount what is
// not its own.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getpid() == 1 {
		lab.Must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		return true
	}
	lab.NeedRoot(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
	return false
}

// keepOpen has the node write to a log, which stays open.
func (n *Node) keepOpen(path string) {
	file := logfile.New(path, 1<<20, 2)
	go file.Run()
	n.logs.add(file)
	fmt.Fprintln(file, "own")
}

// A node that cannot go on ends what writes, and loses nothing that was written by then.
func TestSave(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	disk := lab.NewExt4(t)
	file := filepath.Join(disk.Dir, "file")
	writer := exec.Command("sh", "-c", "exec 3>"+file+"; echo line >&3; echo ready; exec sleep 1000")
	ready, err := writer.StdoutPipe()
	lab.Must(t, errors.Join(err, writer.Start()))
	_, err = ready.Read(make([]byte, 16))
	lab.Must(t, err)

	n, log := node(t)
	own := filepath.Join(disk.Dir, "own.log")
	n.keepOpen(own)
	lab.Until(t, long, "the node's own log", func() bool {
		text, err := os.ReadFile(own)
		return err == nil && string(text) == "own\n"
	})
	infos, err := mount.List()
	info, found := mount.Find(infos, disk.Dir)
	lab.Must(t, err)
	if !found {
		t.Fatal("the disk is not mounted")
	}
	n.saveWith(func() ([]mount.Info, error) { return []mount.Info{info}, nil })
	_ = writer.Wait()
	if status, ok := writer.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("the writer: %v, want killed", writer.ProcessState)
	}
	if err := os.WriteFile(file+".late", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to the disk = %v, want %v", err, unix.EROFS)
	}
	if !strings.Contains(log.String(), "is on the disks") {
		t.Errorf("log: %s", log)
	}
	disk.Cut()
	if got := lab.ReadFile(t, file); got != "line\n" {
		t.Errorf("after a power cut the file holds %q", got)
	}
}

// A partition that does not take the node's files keeps it in memory, as it was before.
func TestNotSeeded(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	lab.Must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	n, _ := node(t)
	ran := 0
	n.plan.steps = []*Step{{Name: "a", Run: func(*Node) error { ran += 100; return nil }}, {Name: "logs", Run: func(*Node) error { ran++; return nil }}}
	before := n.work.dataPart
	if err := n.startOn("/dev/null", 1); !errors.Is(err, errNotSeeded) || ran != 1 || n.work.dataPart != before {
		t.Errorf("startOn = %v, ran %d, datapart=%s", err, ran, n.work.dataPart)
	}
}

// Before anything is stopped, a move is refused onto what is full or too small.
func TestTryMount(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	lab.Must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	lab.Must(t, unix.Mount("tmpfs", "/var", "tmpfs", 0, ""))
	disk := lab.NewExt4(t)
	lab.Must(t, tryMount(disk.Loop))
	lab.Must(t, os.MkdirAll(etcDir, 0o755))
	lab.Must(t, os.WriteFile(filepath.Join(etcDir, "large"), nil, 0o600))
	lab.Must(t, os.Truncate(filepath.Join(etcDir, "large"), 30<<20))
	if err := tryMount(disk.Loop); err == nil || !strings.Contains(err.Error(), "has too little space: 30 MB would move") {
		t.Errorf("too small: %v", err)
	}
	lab.Must(t, os.RemoveAll(etcDir))
	_ = os.WriteFile(filepath.Join(disk.Dir, "full"), make([]byte, 40<<20), 0o600) // as far as it goes
	if err := tryMount(disk.Loop); err == nil || !strings.Contains(err.Error(), "has too little space") {
		t.Errorf("full: %v", err)
	}
}

// A partition gets the record of which files in /etc the pod metadata has written, with these.
func TestSeedTakesRecord(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	lab.Must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	lab.Must(t, unix.Mount("tmpfs", "/var", "tmpfs", 0, ""))
	lab.WriteFile(t, instance.File, "{}")
	lab.WriteFile(t, filepath.Join(etcDir, "kios/disk.yaml"), "device: instance-store\n")
	disk := lab.NewExt4(t)
	n, _ := node(t)
	lab.Must(t, n.seedData(disk.Loop))
	for file, want := range map[string]string{
		"data/lib/kios/metadata/state.json": "{}",
		"meta/etc/kios/disk.yaml":           "device: instance-store\n",
	} {
		if got := lab.ReadFile(t, filepath.Join(disk.Dir, file)); got != want {
			t.Errorf("%s has %q, want %q", file, got, want)
		}
	}
}
