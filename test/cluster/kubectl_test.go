//go:build cluster

package cluster

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"kios/test/lab"
	"kios/test/lab/netns"
)

// testLogsAndExec looks at a pod that runs and at one that has ended.
func testLogsAndExec(u *user) {
	u.apply(pod("ticking", "worker-1", `
  containers: [{name: main, image: "kios.local/workload:1", args: [tick]}]
`))
	u.apply(pod("ended", "worker-2", `
  restartPolicy: Never
  containers: [{name: main, image: "kios.local/workload:1", args: [exit, "3", last words]}]
`))
	u.ready("ticking")
	follower := u.start("logs", "--follow", "ticking")
	u.eventually("lines as they are written", func() error { return wants(follower.String(), "tick 1\n", "tick 5\n") })
	u.demand(u.kubectl("logs", "--tail=1", "ticking"), "tick ")

	out, err := u.run(u.t.Context(), "to be or not\n", "exec", "-i", "ticking", "--", "/workload", "echo")
	if err != nil || out != "echo: to be or not\n" {
		u.t.Errorf("exec with a standard input: %q, %v", out, err)
	}
	if _, err := u.tryExec("ticking", "exit", "7"); exitCode(err) != 7 {
		u.t.Errorf("exec of a program that ends with 7: %v", err)
	}

	u.waitFor("pod/ended", "jsonpath={.status.phase}=Failed")
	u.demand(u.kubectl("logs", "ended"), "last words\n")
	if got := u.field("pod/ended", "{.status.containerStatuses[0].state.terminated.exitCode}"); got != "3" {
		u.t.Errorf("the pod that ended did so with %s, want 3", got)
	}
}

// testAttach talks to the process that a pod runs.
func testAttach(u *user) {
	u.apply(pod("echo", "worker-2", `
  restartPolicy: Never
  containers: [{name: main, image: "kios.local/workload:1", args: [echo], stdin: true, stdinOnce: true}]
`))
	u.ready("echo")
	out, err := u.run(u.t.Context(), "from outside\n", "attach", "-i", "echo")
	if err != nil || !strings.Contains(out, "echo: from outside\n") {
		u.t.Errorf("attach: %q, %v", out, err)
	}
	u.succeeded("echo") // its input has ended
	u.demand(u.kubectl("logs", "echo"), "echo: from outside\n")
}

var forwarding = regexp.MustCompile(`Forwarding from 127\.0\.0\.1:(\d+) -> 8080`)

func testPortForward(u *user) {
	u.apply(serverPod("server", "worker-1"))
	u.apply(service("server"))
	u.ready("server")
	for _, object := range []string{"pod/server", "service/server"} {
		remote := map[bool]string{true: ":80", false: ":8080"}[strings.HasPrefix(object, "service")]
		forward := u.start("port-forward", object, remote)
		var port []string
		u.eventually("a forwarded port", func() error {
			if port = forwarding.FindStringSubmatch(forward.String()); port == nil {
				return fmt.Errorf("kubectl says %q", forward)
			}
			return nil
		})
		u.eventually("an answer through "+object, func() error {
			answer, err := u.env.curl("http://127.0.0.1:" + port[1])
			if err == nil && answer != "server\n" {
				err = fmt.Errorf("it is %q", answer)
			}
			return err
		})
	}
}

// testCopy copies a directory into a pod and back again.
func testCopy(u *user) {
	u.apply(clientPod("box", "worker-2"))
	u.ready("box")
	text := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB
	from := filepath.Dir(u.file("data", text))
	u.kubectl("cp", from, "box:/tmp/there")
	if got := u.exec("box", "cat", "/tmp/there/data"); got != text {
		u.t.Errorf("%d bytes arrived, want %d", len(got), len(text))
	}
	back := filepath.Join(u.t.TempDir(), "back")
	u.kubectl("cp", "box:/tmp/there", back)
	got, err := os.ReadFile(filepath.Join(back, "data"))
	if err != nil || string(got) != text {
		u.t.Errorf("%d bytes came back, %v, want %d", len(got), err, len(text))
	}
}

// testTop reads what "kubectl top" is made of: the metrics server, which a
// cluster has or has not, asks kubelets for it.
func testTop(u *user) {
	u.apply(clientPod("measured", "worker-1"))
	u.ready("measured")
	u.eventually("figures of the pod", func() error {
		text, err := u.try("get", "--raw", "/api/v1/nodes/worker-1/proxy/metrics/resource")
		if err != nil {
			return err
		}
		return wants(text, "node_cpu_usage_seconds_total ", "node_memory_working_set_bytes ",
			fmt.Sprintf(`container_memory_working_set_bytes{container="main",namespace="%s",pod="measured"}`, u.namespace),
			fmt.Sprintf(`pod_cpu_usage_seconds_total{namespace="%s",pod="measured"}`, u.namespace))
	})
}

var debugPod = regexp.MustCompile(`Creating debugging pod (\S+) with container`)

// testDebugNode reads a file of a node.
func testDebugNode(u *user) {
	said, err := u.both("debug", "node/worker-2", "--image=kios.local/workload:1", "--", "/workload", "cat", "/host/etc/hostname")
	lab.Must(u.t, err)
	name := debugPod.FindStringSubmatch(said)
	if name == nil {
		u.t.Fatalf("kubectl debug says %q", said)
	}
	u.succeeded(name[1])
	if got := u.kubectl("logs", name[1]); got != "worker-2\n" {
		u.t.Errorf("the pod found %q in the node's /etc/hostname", got)
	}
}

// testEphemeralContainers looks into a pod that runs: into its container's
// processes, and in a conversation.
func testEphemeralContainers(u *user) {
	u.apply(serverPod("server", "worker-1"))
	u.ready("server")
	u.kubectl("debug", "server", "--image=kios.local/workload:1", "--container=look", "--target=main", "--", "/workload", "cat", "/proc/1/cmdline")
	u.waitFor("pod/server", `jsonpath={.status.ephemeralContainerStatuses[?(@.name=="look")].state.terminated.exitCode}=0`)
	if got := u.kubectl("logs", "server", "-c", "look"); got != "/workload\x00serve\x00" {
		u.t.Errorf("process 1 of the target is %q", got)
	}
	// When the standard input ends, so does the output: that of an ephemeral
	// container is not for one attachment only (stdinOnce), as testAttach's is.
	cmd := u.command(u.t.Context(), "debug", "-i", "server", "--image=kios.local/workload:1", "--container=talk", "--", "/workload", "echo")
	stdin, err := cmd.StdinPipe()
	lab.Must(u.t, err)
	debug := netns.StartCommand(u.t, cmd)
	if _, err := io.WriteString(stdin, "a question\n"); err != nil {
		u.t.Fatal(err)
	}
	u.eventually("an answer", func() error { return wants(debug.String(), "echo: a question\n") })
	debug.Stop()
	if got := u.field("pod/server", "{.status.containerStatuses[0].restartCount}"); got != "0" {
		u.t.Errorf("the pod's own container was restarted %s times", got)
	}
}
