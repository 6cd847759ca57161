//go:build image

package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/host/kubeletapi"
	"kios/host/qemu"
	"kios/test/lab/machine"
)

// busPod returns the manifest of a pod that talks to the node's bus, as the
// given user.
func busPod(name string, uid int, more string, args ...string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
%s
  containers:
  - name: main
    image: kios.local/busclient:1
    args: [%s]
    securityContext:
      runAsUser: %d
      allowPrivilegeEscalation: false
      capabilities:
        drop: ["ALL"]
    volumeMounts:
    - name: bus
      mountPath: /run/dbus
    - name: old
      mountPath: /run/system.sock
  volumes:
  - name: bus
    hostPath:
      path: /run/dbus
      type: Directory
  - name: old
    hostPath:
      path: /run/system.sock
      type: Socket
`, name, more, quoted(args), uid)
}

// timed returns the manifest of a pod with a priority, which takes some time to
// stop and ignores what it is not given.
func timed(name string, priority int, linger time.Duration, grace int) string {
	text := pod(name, "/var/lib/"+name, "-on-term", "/data/stopped", "-linger", linger.String())
	return strings.Replace(text, "spec:\n", fmt.Sprintf("spec:\n  priority: %d\n  terminationGracePeriodSeconds: %d\n", priority, grace), 1)
}

// client runs busclient in a pod. What it prints is also returned if it fails.
func (n *node) client(pod string, args ...string) (string, error) {
	text, err := n.api.Run(context.WithoutCancel(n.t.Context()), "default", pod+"-"+n.name, "main", append([]string{"/busclient"}, args...)...)
	return strings.TrimSpace(string(text)), err
}

// talk is client for what must succeed.
func (n *node) talk(args ...string) string {
	n.t.Helper()
	text, err := n.client("agent", args...)
	if err != nil {
		n.t.Fatalf("busclient %v: %v\n%s", args, err, text)
	}
	return text
}

// ends waits for the end that somebody has asked for.
func (n *node) ends(want qemu.End) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), n.Scale(time.Minute))
	defer cancel()
	end, err := n.Wait(ctx)
	n.must(err)
	if end != want {
		n.t.Fatalf("the machine has %s, want %s", end, want)
	}
}

// order demands that lines which match the patterns are on the console, in this
// order.
func (n *node) order(patterns ...string) {
	n.t.Helper()
	rest := n.Lines()
	for _, p := range patterns {
		re := regexp.MustCompile(p)
		i := slices.IndexFunc(rest, func(l qemu.Line) bool { return re.MatchString(l.Text) })
		if i < 0 {
			n.t.Errorf("the console has no line that matches %q after those before it", p)
			return
		}
		rest = rest[i+1:]
	}
}

// pidOf returns the process of a unit, and how often it was started again.
func (n *node) pidOf(unit string) (pid, restarts int) {
	n.t.Helper()
	state := n.talk("state", unit)
	if _, err := fmt.Sscanf(state, "active running %d %d", &pid, &restarts); err != nil {
		n.t.Fatalf("%s is %q: %v", unit, state, err)
	}
	return pid, restarts
}

// kubeletLocks waits until the kubelet has its lock, and nobody else one.
func (n *node) kubeletLocks() {
	n.t.Helper()
	n.eventually("the kubelet's lock", func(context.Context) error {
		text, err := n.client("agent", "locks")
		if err == nil && text != "shutdown kubelet delay" {
			err = fmt.Errorf("locks are held by %q", text)
		}
		return err
	})
}

// TestSystemBus uses the bus from pods, and in the end has the node reboot.
func TestSystemBus(t *testing.T) {
	n := prepare(t, setup{few: true, images: []string{machine.Image(t, "busclient", "busclient")}, pods: map[string]string{
		"agent": busPod("agent", 0, "", "sleep"), "other": busPod("other", 1000, "", "sleep"), "steady": pod("steady", "/var/lib/steady"),
	}})
	n.cfg.NoReboot = true
	n.start()
	before := n.running("steady").Containers[0]
	n.running("agent")
	n.running("other")
	if got := n.talk("locks"); got != "shutdown kubelet delay" {
		t.Errorf("locks are held by %q, want the kubelet's", got)
	}

	t.Run("strangers", func(t *testing.T) { checkStrangers(t, n) })
	t.Run("restart", func(t *testing.T) { checkRestart(t, n) })
	t.Run("bytes", func(t *testing.T) { checkBytes(t, n) })
	n.kubeletLocks()
	after := n.running("steady").Containers[0]
	if after.Restarts != before.Restarts || !after.Running.StartedAt.Equal(before.Running.StartedAt) {
		t.Errorf("the container was restarted: %+v, was %+v", after, before)
	}

	n.Mark()
	_, _ = n.client("agent", "reboot") // the pod may be gone before it has printed anything
	n.expect(`stopping, as process \d+ \(busclient\) of user 0 asks`)
	n.ends(qemu.Rebooted)
	n.order(`waiting for kubelet \(process \d+\): Kubelet needs time to handle node shutdown, at most 35s`,
		`kubelet \(process \d+\) let go after \d+ ms`, `stop announce`, `stop kubelet`, `stop containers`, `stop containerd`, `stop mounts`,
		`stopped in \d+ ms, restarting`)
	n.demandCleanDisk()
}

// checkStrangers asks as a user who is not root: the bus refuses what changes the
// node, and tells of its state.
func checkStrangers(t *testing.T, n *node) {
	for _, args := range [][]string{{"reboot"}, {"poweroff"}, {"halt"}, {"restart", "kubelet.service"}, {"rename", "other"}} {
		if text, _ := n.client("other", append([]string{"try"}, args...)...); !strings.Contains(text, "org.freedesktop.DBus.Error.AccessDenied") {
			t.Errorf("%v, as user 1000: %q, want AccessDenied", args, text)
		}
	}
	if text, _ := n.client("other", "try", "byte", "2"); !strings.Contains(text, "permission denied") {
		t.Errorf("a byte of user 1000: %q, want permission denied", text)
	}
	if text, err := n.client("other", "state", "kubelet.service"); err != nil || !strings.HasPrefix(text, "active running ") {
		t.Errorf("state, as user 1000: %q, %v", text, err)
	}
}

// checkRestart has the daemons restarted by their units.
func checkRestart(t *testing.T, n *node) {
	for i, unit := range []string{"containerd.service", "kubelet.service"} {
		pid, restarts := n.pidOf(unit)
		n.Mark()
		_, _ = n.client("agent", "restart", unit) // both daemons carry what it prints
		n.expect(strings.TrimSuffix(unit, ".service") + ` starts again, as process \d+ \(busclient\) of user 0 asks`)
		n.expect(strings.TrimSuffix(unit, ".service") + ` ready`)
		n.eventually("an answer of "+unit, func(context.Context) error { _, err := n.client("agent", "state", unit); return err })
		if now, again := n.pidOf(unit); now == pid || again != restarts+1 {
			t.Errorf("%d: %s is process %d after %d restarts, was %d after %d", i, unit, now, again, pid, restarts)
		}
	}
}

// checkBytes has both daemons restarted as pods of the first kiOS ask for it.
func checkBytes(t *testing.T, n *node) {
	n.Mark()
	_, _ = n.client("agent", "byte", "9", "4", "3") // several in one write
	n.expect(`the kubelet starts again|kubelet starts again, as a client of /run/system.sock asks`)
	n.expect(`kubelet ready`)
	if !n.consoleHas(`containerd starts again, as a client of /run/system.sock asks`) {
		t.Error("the byte 0x04 was lost")
	}
}

// TestShutdownOrder has pods of two priorities end in order, each with its
// grace, and the node wait as long as it was told to.
func TestShutdownOrder(t *testing.T) {
	const critical = 2000001000
	deaf := busPod("deaf", 0, "", "deaf")
	deaf = strings.Replace(deaf, "terminationGracePeriodSeconds: 1\n", "terminationGracePeriodSeconds: 3\n", 1)
	n := boot(t, setup{
		few:    true,
		images: []string{machine.Image(t, "busclient", "busclient")},
		pods: map[string]string{
			"ordinary": timed("ordinary", 0, 2*time.Second, 15), "important": timed("important", critical, time.Second, 15),
			"deaf": deaf,
		},
		etc: map[string]string{"kubernetes/config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n" +
			"shutdownGracePeriod: 40s\nshutdownGracePeriodCriticalPods: 15s\n"},
	})
	for _, name := range []string{"ordinary", "important", "deaf"} {
		n.running(name)
	}
	n.expect(`kubelet ready`)
	n.powerOff()
	n.demandCleanDisk()
	for _, name := range []string{"ordinary", "important"} {
		if n.fileOnDisk("/data/lib/"+name+"/stopped") == "" {
			t.Errorf("the pod %s was not given its time", name)
		}
	}
	n.order(`stopping, as the power button asks`, `waiting for kubelet .* at most 45s`,
		`pod default/ordinary-node container main exited with code 0`,
		`pod default/important-node container main exited with code 0`,
		`kubelet \(process \d+\) let go after`, `stop kubelet`, `stop containers`, `stop containerd`, `stop mounts`, `powering off`)
	n.order(`pod default/deaf-node container main exited with code 137`, `pod default/important-node container main exited`)
}

// TestShutdownAlwaysEnds has everything in the way that can be: a kubelet and a
// containerd that do nothing any more, a lock that nobody lets go of, and a pod
// that does not stop.
func TestShutdownAlwaysEnds(t *testing.T) {
	t.Parallel() // it waits more than it works
	n := boot(t, setup{
		few:    true,
		images: []string{machine.Image(t, "busclient", "busclient")},
		pods: map[string]string{
			"holder": strings.Replace(busPod("holder", 0, "", "hold", "somebody"), "terminationGracePeriodSeconds: 1\n", "terminationGracePeriodSeconds: 3600\n", 1),
		},
		etc: map[string]string{"kubernetes/config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n" +
			"shutdownGracePeriod: 6s\nshutdownGracePeriodCriticalPods: 2s\n"},
		append: "kios.stop=4",
	})
	n.running("probe")
	n.podWith("holder", "holding", func(p kubeletapi.Pod) bool { return p.Done() && strings.Contains(n.logs("holder"), "ready") })
	ctx, cancel := context.WithTimeout(t.Context(), n.Scale(2*time.Second))
	defer cancel()
	_, _ = n.tryProbe(ctx, "halt", "containerd", "kubelet") // nobody is left to carry the answer
	n.powerOff()
	n.demandCleanDisk()
	n.order(`kubelet \(process \d+\): Kubelet needs time .* did not let go within 11s`, `somebody \(process \d+\): to be in the way did not let go within 11s`,
		`kubelet did not end within 10s of SIGTERM and was killed`, `container main of pod default/holder-node did not end within 4s of SIGTERM and is killed`,
		`containerd did not end within 10s of SIGTERM and was killed`, `powering off`)
}

// TestGoOn is a pod of the first kiOS that does not want to wait.
func TestGoOn(t *testing.T) {
	n := boot(t, setup{few: true, images: []string{machine.Image(t, "busclient", "busclient")}, pods: map[string]string{
		"agent":  busPod("agent", 0, "", "sleep"),
		"holder": busPod("holder", 0, "", "hold", "somebody"),
	}})
	n.running("agent")
	n.podWith("holder", "holding", func(p kubeletapi.Pod) bool { return p.Done() && strings.Contains(n.logs("holder"), "ready") })
	n.Mark()
	_, _ = n.client("agent", "byte", "1", "2")
	n.expect(`stopping, as a client of /run/system.sock asks`)
	n.ends(qemu.PoweredOff)
	n.order(`waiting for nobody any more, as a client of /run/system.sock asks`, `powering off`)
	n.demandCleanDisk()
}

// TestRenameAndHalt has a pod name the node, and plan that it halts.
func TestRenameAndHalt(t *testing.T) {
	n := boot(t, setup{few: true, images: []string{machine.Image(t, "busclient", "busclient")}, pods: map[string]string{"agent": busPod("agent", 0, "", "sleep")}})
	n.running("agent")
	if got := n.talk("can"); got != "yes yes yes" {
		t.Errorf("the node can power off, reboot and halt: %q, want yes thrice", got)
	}
	if text, _ := n.client("agent", "try", "rename", "-no-name-"); !strings.Contains(text, "org.freedesktop.DBus.Error.") {
		t.Errorf("rename to -no-name-: %q, want an error", text)
	}
	n.Mark()
	_, _ = n.client("agent", "rename", "another") // the kubelet carries the answer, and starts again
	n.expect(`/etc/hostname names this node "another" now, as process \d+ \(busclient\) of user 0 asks; the kubelet starts again`)
	n.name = "another" // static pods have it in theirs
	n.running("agent")
	n.kubeletLocks()
	n.Mark()
	n.talk("plan", "halt", "3s")
	n.expect(`stopping, as .* asks`)
	n.expect(`stopped in \d+ ms, halting`)
	n.expect(`reboot: System halted`)
	n.Kill() // it would stay halted for ever
	n.demandCleanDisk()
}
