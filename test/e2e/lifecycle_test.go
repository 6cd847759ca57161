//go:build image

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"kios/host/qemu"
	"kios/internal/gpt"
	"kios/test/lab"
)

// staticCPUs has the kubelet give whole processors to some pods, and keep in a file which.
// It has no spaces, which the probe's arguments cannot have.
const staticCPUs = `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","cpuManagerPolicy":"static"}`

// TestStateSurvives has the daemons killed, and then the node rebooted, with another
// policy for processors and then with other processors.
func TestStateSurvives(t *testing.T) {
	n := prepare(t, setup{few: true, bus: "nvme", card: "e1000e", pods: map[string]string{"app": pod("app", "/var/lib/app", "-on-term", "/data/stopped", "-linger", "2s")}})
	n.cfg.NoReboot = true // to be looked at in between
	if keyboard := lab.Arch(t).QEMU.Keyboard; keyboard != "" {
		n.cfg.Args = []string{"-device", "qemu-xhci", "-device", keyboard} // as BMCs have it
	}
	n.start()
	n.expect(`data partition /dev/nvme0n1p2`)
	n.running("probe") // through the card
	n.running("app")
	n.probe("write", "/var/lib/app/file", "kept")
	key := n.probe("sha256", "/var/lib/kubelet/pki/kubelet-server.key")
	id := n.probe("cat", "/etc/machine-id")
	n.expect(`image probe.tar imported`)
	n.killDaemons("app")
	n.probe("write", "/etc/kubernetes/config.d/cpu.yaml", staticCPUs)
	n.pressCtrlAltDel()
	n.demandCleanDisk()
	if got := n.fileOnDisk("/data/lib/app/stopped"); got == "" {
		t.Error("the container was not given time: it has not written its last file")
	}

	n.reboot()
	n.running("probe")
	n.expect(`pod kube-system/disk-node container disk exited with code 0`) // again, in this boot
	if got := n.probe("cat", "/var/lib/app/file"); strings.TrimSpace(got) != "kept" {
		t.Errorf("the file of the first boot holds %q, want kept", got)
	}
	if got := n.probe("sha256", "/var/lib/kubelet/pki/kubelet-server.key"); got != key {
		t.Errorf("the kubelet's key has changed: %s, was %s", got, key)
	}
	if got := n.probe("cat", "/etc/machine-id"); got != id {
		t.Errorf("the machine-id has changed: %s, was %s", got, id)
	}
	if n.consoleHas(`image .* imported`) {
		t.Error("an image that was there is imported again")
	}
	n.demandStaticCPUs("0-1", 1)
	n.powerOff()
	n.cfg.CPUs = 3
	n.reboot()
	n.running("probe")
	n.demandStaticCPUs("0-2", 2)
	n.powerOff()
	n.demandCleanDisk()
}

// demandStaticCPUs demands that the kubelet keeps a list of these processors, and that it
// has put aside the state of another policy or machine as often as this, ever.
func (n *node) demandStaticCPUs(processors string, aside int) {
	n.t.Helper()
	const path = "/var/lib/kubelet/cpu_manager_state"
	if got := n.probe("cat", path); !strings.Contains(got, `"policyName":"static"`) || !strings.Contains(got, `"`+processors+`"`) {
		n.t.Errorf("the kubelet's state is %s, want the policy static and the processors %s", got, processors)
	}
	const line = path + " is put aside as cpu_manager_state.old: "
	if log := n.probe("cat", "/var/log/kubelet.log"); strings.Count(log, "kios: "+line) != aside {
		n.t.Errorf("the kubelet's log has %d lines with %q, want %d", strings.Count(log, line), line, aside)
	}
	n.expect("error: " + regexp.QuoteMeta(line))
}

// killDaemons demands that those that are killed come back, and that a container
// does not notice.
func (n *node) killDaemons(name string) {
	n.t.Helper()
	before := n.running(name).Containers[0]
	for _, daemon := range []string{"containerd", "kubelet"} {
		n.Mark()
		// The kubelet that carries the request may be the one that dies.
		_, _ = n.tryProbe(context.WithoutCancel(n.t.Context()), "kill", daemon)
		n.expect(daemon + ` \(pid \d+\) ended .*killed by SIGKILL`)
		n.expect(daemon + ` ready`)
	}
	after := n.running(name).Containers[0]
	if after.Restarts != before.Restarts || !after.Running.StartedAt.Equal(before.Running.StartedAt) {
		n.t.Errorf("the container was restarted: %+v, was %+v", after, before)
	}
	if got := n.probe("cat", "/proc/1/comm"); strings.TrimSpace(got) != "init" {
		n.t.Errorf("PID 1 is %q", got)
	}
}

func TestPowerCutLosesNothingSynced(t *testing.T) {
	n := boot(t, setup{few: true, bus: "ahci", card: "e1000", pods: map[string]string{
		"writer": pod("writer", "/var/lib/writer", "-write", "/data/records", "-every", "100ms"),
	}})
	n.expect(`data partition /dev/sda2`)
	n.running("writer")
	var last int
	n.eventually("some records", func(context.Context) error {
		last = lastRecord(n.logs("writer"))
		if last < 20 {
			return fmt.Errorf("%d records so far", last)
		}
		return nil
	})
	n.Kill()

	n.reboot()
	if got := n.recordsFound(); got < last {
		t.Errorf("record %d is the last after the power cut, but %d was synced", got, last)
	}
	n.powerOff()
	n.demandCleanDisk()
}

// recordsFound returns how many records the writer has found when it started. The file
// itself does not tell: the writer goes on in it.
func (n *node) recordsFound() int {
	n.t.Helper()
	n.running("writer")
	found := 0
	n.eventually("what the writer has found", func(context.Context) error {
		if _, err := fmt.Sscanf(n.logs("writer"), "found %d records", &found); err != nil {
			return fmt.Errorf("the writer does not say it first: %w", err)
		}
		return nil
	})
	return found
}

// lastRecord returns the number of the last record in the file, or in the log
// of the container that writes it.
func lastRecord(text string) int {
	all := regexp.MustCompile(`(?m)^(?:synced )?record (\d+)$`).FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return 0
	}
	last, _ := strconv.Atoi(all[len(all)-1][1]) // the expression admits digits only
	return last
}

// pressCtrlAltDel presses the keys and demands a clean end.
func (n *node) pressCtrlAltDel() {
	n.t.Helper()
	_, err := n.Execute(n.t.Context(), "send-key", map[string]any{"keys": []map[string]string{
		{"type": "qcode", "data": "ctrl"}, {"type": "qcode", "data": "alt"}, {"type": "qcode", "data": "delete"},
	}})
	n.must(err)
	ctx, cancel := context.WithTimeout(n.t.Context(), n.Scale(time.Minute))
	defer cancel()
	end, err := n.Wait(ctx)
	n.must(err)
	if end != qemu.Rebooted {
		n.t.Errorf("Ctrl-Alt-Del: the machine has %s, want rebooted", end)
	}
}

// consoleHas says whether a line since the machine's start matches.
func (n *node) consoleHas(pattern string) bool {
	re := regexp.MustCompile(pattern)
	for _, l := range n.Lines() {
		if re.MatchString(l.Text) {
			return true
		}
	}
	return false
}

// dataPartition copies the data partition out of the disk.
func (n *node) dataPartition() string {
	n.t.Helper()
	f, err := os.Open(n.disk)
	n.must(err)
	defer f.Close()
	p := n.findData(f)
	path := n.t.TempDir() + "/data.ext4"
	n.must(exec.Command("dd", "if="+n.disk, "of="+path, "bs=1M", "conv=sparse", "status=none",
		fmt.Sprintf("skip=%d", p.FirstLBA*512>>20), fmt.Sprintf("count=%d", (p.LastLBA-p.FirstLBA+1)*512>>20)).Run())
	return path
}

func (n *node) findData(f *os.File) gpt.Partition {
	n.t.Helper()
	st, err := f.Stat()
	n.must(err)
	table, err := gpt.Read(f, 512, uint64(st.Size())/512)
	n.must(err)
	for _, p := range table.Partitions {
		if p.Type == gpt.TypeKiosData {
			return p
		}
	}
	n.t.Fatal("the disk has no data partition")
	return gpt.Partition{}
}

// demandCleanDisk demands that e2fsck finds nothing to mend or to replay.
func (n *node) demandCleanDisk() {
	n.t.Helper()
	out, err := exec.Command("e2fsck", "-fn", n.dataPartition()).CombinedOutput()
	if err != nil || strings.Contains(string(out), "recover") {
		n.t.Errorf("e2fsck -fn: %v\n%s", err, out)
	}
}

// fileOnDisk reads a file of the data partition of a machine that is off.
func (n *node) fileOnDisk(path string) string {
	n.t.Helper()
	out, err := exec.Command("debugfs", "-R", "cat "+path, n.dataPartition()).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.t.Fatal(err)
	}
	return string(out)
}
