//go:build cluster

package cluster

import (
	"testing"

	"kios/host/clusterconfig"
	"kios/test/lab"
)

// tests of what a cluster's users do. Each has a namespace of its own, and they
// share two workers: none of them may harm a node.
var shared = []struct {
	name string
	run  func(*user)
}{
	{"Spread", testSpread},
	{"ServiceByName", testServiceByName},
	{"LogsAndExec", testLogsAndExec},
	{"Attach", testAttach},
	{"PortForward", testPortForward},
	{"Copy", testCopy},
	{"Top", testTop},
	{"DebugNode", testDebugNode},
	{"EphemeralContainers", testEphemeralContainers},
	{"Volumes", testVolumes},
	{"Probes", testProbes},
	{"InitContainersAndSidecars", testInitContainersAndSidecars},
	{"MemoryLimit", testMemoryLimit},
	{"ProcessorLimit", testProcessorLimit},
	{"ProcessesLimit", testProcessesLimit},
	{"UserNamespace", testUserNamespace},
	{"SeccompLocalhost", testSeccompLocalhost},
	{"MirrorPod", testMirrorPod},
	{"SystemBus", testSystemBus},
}

// Files of both workers, for tests that need them.
var workerFiles = map[string]string{
	"kubernetes/config.d/70-pids.yaml": kubeletConfiguration + "podPidsLimit: 200\n",
	// Room for what takes a real machine a second and an emulated one half a minute.
	"kubernetes/config.d/71-grace.yaml":  kubeletConfiguration + "shutdownGracePeriod: 240s\nshutdownGracePeriodCriticalPods: 120s\n",
	"kubernetes/manifests/mirrored.yaml": mirroredPod,
	"seccomp/tests/no-mkdir.json":        noMkdirProfile,
}

// TestCluster boots two workers, lets users have their way with them, and then
// drains, cuts off, switches off and resets them.
func TestCluster(t *testing.T) {
	lab.Long(t)
	e := newEnv(t, clusterconfig.Config{})
	var workers []*node
	for _, s := range []setup{
		{name: "worker-1", images: e.products.ControlPlane}, // for testApproverPod
		{name: "worker-2", images: e.products.Worker},
	} {
		s.etc, s.memory = workerFiles, 1536
		workers = append(workers, e.boot(s))
	}
	e.addOns()
	waitForAddOns(e.admin(t), workers)
	t.Run("Users", func(t *testing.T) { runShared(t, e) })
	t.Run("ApproverPod", func(t *testing.T) { testApproverPod(e.user(t), workers[0]) })
	t.Run("Drain", func(t *testing.T) { testDrain(e.user(t), workers[0]) })
	// Graces are of real time: nothing else may keep the machine busy.
	t.Run("Shutdown", func(t *testing.T) { testShutdown(e.user(t), workers[0]) })
	t.Run("Trouble", func(t *testing.T) {
		t.Run("CutOff", func(t *testing.T) {
			t.Parallel()
			testCutOff(e.user(t), workers[1])
		})
		t.Run("RebootAndReset", func(t *testing.T) {
			t.Parallel()
			u := e.user(t)
			testReboot(u, workers[0])
			testReset(u, workers[0])
		})
	})
	for _, n := range workers {
		n.powerOff(t)
	}
}

func runShared(t *testing.T, e *env) {
	for _, test := range shared {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(e.user(t))
		})
	}
}

// waitForAddOns waits until the nodes are ready, and pods on them can call each
// other by name.
func waitForAddOns(u *user, nodes []*node) {
	u.t.Helper()
	for _, n := range nodes {
		u.waitFor("node/"+n.name, "create")
		u.waitFor("node/"+n.name, "condition=Ready")
	}
	system := *u
	system.namespace = "kube-system"
	for _, object := range []string{"deployment/coredns", "daemonset/kube-proxy", "daemonset/flannel"} {
		system.kubectl("rollout", "status", object, "--timeout="+system.patience.String())
	}
}
