//go:build cluster

package cluster

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"kios/test/lab"
)

// testDrain moves everything off a node, and lets it have pods again.
func testDrain(u *user, n *node) {
	u.apply(deployment("movable", 3, `
      containers: [{name: main, image: "kios.local/workload:1"}]
`))
	u.apply(`apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: movable}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: movable}}}
`)
	u.waitFor("deployment/movable", "condition=Available")
	u.kubectl("drain", n.name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", fmt.Sprintf("--timeout=%ds", int(2*u.patience.Seconds())))
	u.waitFor("deployment/movable", "jsonpath={.status.readyReplicas}=3")
	if nodes := u.field("pods", `{.items[?(@.metadata.labels.app=="movable")].spec.nodeName}`); strings.Contains(nodes, n.name) {
		u.t.Errorf("after drain there are pods on %s: %s", n.name, nodes)
	}
	u.kubectl("uncordon", n.name)
	u.apply(clientPod("back", n.name))
	u.ready("back")
}

// readiness returns the node's condition Ready: its status, and why.
func readiness(u *user, n *node) (status, why string) {
	u.t.Helper()
	text := u.field("node/"+n.name, `{.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}`)
	status, why, _ = strings.Cut(text, " ")
	return status, why
}

const offNetwork = 5 * time.Minute

// testCutOff takes a node off the network for five minutes. The cluster takes it
// for lost, and its pods go on.
func testCutOff(u *user, n *node) {
	u.apply(pod("ticking", n.name, `
  containers: [{name: main, image: "kios.local/workload:1", args: [tick]}]
`))
	// Five minutes are what pods tolerate if they do not say otherwise.
	u.apply(pod("impatient", n.name, `
  tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}]
  containers: [{name: main, image: "kios.local/workload:1"}]
`))
	u.ready("ticking", "impatient")
	container := u.field("pod/ticking", "{.status.containerStatuses[0].containerID}")
	n.cut()
	start := time.Now()
	u.waitFor("node/"+n.name, "condition=Ready=Unknown")
	u.eventually("the taint unreachable", func() error {
		return wants(u.field("node/"+n.name, "{.spec.taints[*].key}"), "node.kubernetes.io/unreachable")
	})
	u.within(time.Minute+u.patience, "the end of the pod that tolerates it for 5 s", func() error {
		if u.field("pod/impatient", "{.metadata.deletionTimestamp}") == "" {
			return errors.New("it is not being deleted")
		}
		return nil
	})
	u.within(offNetwork+time.Minute, "five minutes", func() error {
		if gone := time.Since(start); gone < offNetwork {
			return fmt.Errorf("%s are over", gone)
		}
		return nil
	})
	n.mend()
	u.waitFor("node/"+n.name, "condition=Ready")
	u.eventually("an end of the taints", func() error {
		if got := u.field("node/"+n.name, "{.spec.taints[*].key}"); got != "" {
			return fmt.Errorf("they are %s", got)
		}
		return nil
	})
	u.ready("ticking")
	if got := u.field("pod/ticking", "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}"); got != container+" 0" {
		u.t.Errorf("the container was %s and is now, with its restarts, %s", container, got)
	}
	// It ticked all the time: a second may be long on a busy machine.
	if ticks := strings.Count(u.kubectl("logs", "ticking"), "tick "); ticks < int(offNetwork.Seconds()/2) {
		u.t.Errorf("in five minutes the pod ticked %d times", ticks)
	}
	u.waitFor("pod/impatient", "delete")
}

// testShutdown presses the power button. The API server sees the pods end in the
// order of their priorities, each with the time that it takes, and the node say
// why it is not ready. Then the node is switched on again.
func testShutdown(u *user, n *node) {
	u.apply(deployment("replaced", 1, `
      nodeSelector: {kubernetes.io/hostname: `+n.name+`}
      containers: [{name: main, image: "kios.local/workload:1"}]
`))
	// What takes its time is to end first, what is quick last: if both were told
	// at once, it would be the other way round.
	u.apply(shutdownPod("slow", n.name, "", "6s", 15))
	u.apply(shutdownPod("quick-but-critical", n.name, "priorityClassName: system-cluster-critical", "0s", 10))
	u.apply(shutdownPod("beyond-its-grace", n.name, "", "1h", 3))
	u.ready("slow", "quick-but-critical", "beyond-its-grace")
	u.waitFor("deployment/replaced", "condition=Available")
	bootID := u.field("node/"+n.name, "{.status.nodeInfo.bootID}")

	n.powerOff(u.t)
	if status, why := readiness(u, n); status != "False" || !strings.Contains(why, "shutting down") {
		u.t.Errorf("Ready is %s: %s, want False, because the node is shutting down", status, why)
	}
	// The condition is every pod's. The kubelet keeps reason and message beside the
	// phase only where that is Failed (generateAPIPodStatus).
	const because = "Pod was terminated in response to imminent node shutdown."
	const ended0, ended137 = "Succeeded : 0", "Failed Terminated:" + because + " 137"
	ended := map[string]string{}
	for pod, want := range map[string]string{"slow": ended0, "quick-but-critical": ended0, "beyond-its-grace": ended137} {
		state := "{.status.containerStatuses[0].state.terminated"
		if got := u.field("pod/"+pod, "{.status.phase} {.status.reason}:{.status.message} "+state+".exitCode}"); got != want {
			u.t.Errorf("%s is %q, want %q: %s", pod, got, want, u.field("pod/"+pod, "{.status}"))
		}
		if got := u.field("pod/"+pod, `{.status.conditions[?(@.type=="DisruptionTarget")].message}`); got != because {
			u.t.Errorf("%s was disrupted because %q, want %q", pod, got, because)
		}
		ended[pod] = u.field("pod/"+pod, state+".finishedAt}")
	}
	// RFC 3339 in UTC: as text, too, the earlier is the smaller.
	if ended["slow"] == "" || ended["slow"] > ended["quick-but-critical"] || ended["beyond-its-grace"] > ended["quick-but-critical"] {
		u.t.Errorf("the critical pod did not end last: %v", ended)
	}

	n.start(u.t)
	rebooted(u, n, bootID)
	u.waitFor("deployment/replaced", "condition=Available")
}

// shutdownPod is told to stop and takes some time for it.
func shutdownPod(name, node, priority, linger string, grace int) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeSelector: {kubernetes.io/hostname: %s}
  %s
  terminationGracePeriodSeconds: %d
  containers: [{name: main, image: "kios.local/workload:1", args: [linger, %s]}]
`, name, node, priority, grace, linger)
}

// rebooted waits until the node is ready again, and not as it was before.
func rebooted(u *user, n *node, bootID string) {
	u.t.Helper()
	u.within(2*u.patience, "a new boot of "+n.name, func() error {
		if got, err := u.try("get", "node/"+n.name, "-o", "jsonpath={.status.nodeInfo.bootID}"); err != nil || got == bootID {
			return fmt.Errorf("the boot is %q, %v", got, err)
		}
		return nil
	})
	u.waitFor("node/"+n.name, "condition=Ready")
}

// testReboot has a pod ask for a reboot, as reboot agents do.
func testReboot(u *user, n *node) {
	u.apply(busPod("agent", n.name, ""))
	u.ready("agent")
	bootID := u.field("node/"+n.name, "{.status.nodeInfo.bootID}")
	n.Mark()
	_, _ = u.try("exec", "agent", "--", "/busclient", "reboot") // the pod may be gone before it answers
	n.expect(u.t, `stopping, as process \d+ \(busclient\) of user 0 asks`)
	n.expect(u.t, `the kubelet was done with all pods after another \d+ ms`)
	n.expect(u.t, `stopped in \d+ ms, restarting`)
	rebooted(u, n, bootID)
}

// testReset presses the reset button: nobody is told anything. The pods are
// started again, the same ones.
func testReset(u *user, n *node) {
	u.apply(pod("again", n.name, `
  containers: [{name: main, image: "kios.local/workload:1", args: [tick]}]
  volumes: [{name: disk, emptyDir: {}}]
`))
	u.ready("again")
	uid := u.field("pod/again", "{.metadata.uid}")
	bootID := u.field("node/"+n.name, "{.status.nodeInfo.bootID}")
	lab.Must(u.t, n.Reset(u.t.Context()))
	rebooted(u, n, bootID)
	u.waitFor("pod/again", "jsonpath={.status.containerStatuses[0].restartCount}=1")
	u.ready("again")
	if got := u.field("pod/again", "{.metadata.uid}"); got != uid {
		u.t.Errorf("the pod is another one")
	}
	u.demand(u.kubectl("logs", "again"), "tick 1\n")
}
