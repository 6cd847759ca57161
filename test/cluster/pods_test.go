//go:build cluster

package cluster

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// volumesOf are the objects that volumes are made of.
const volumesOf = `apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, size: large}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {password: sesame}
`

// volumes is a pod with volumes of all the common kinds.
const volumes = `
  securityContext: {fsGroup: 4711}
  containers:
  - name: main
    image: kios.local/workload:1
    env:
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    volumeMounts:
    - {name: settings, mountPath: /settings}
    - {name: settings, mountPath: /one-file, subPath: size}
    - {name: keys, mountPath: /keys, readOnly: true}
    - {name: projected, mountPath: /projected}
    - {name: disk, mountPath: /disk}
    - {name: memory, mountPath: /memory}
    - {name: host, mountPath: /node}
  - name: other
    image: kios.local/workload:1
    volumeMounts: [{name: disk, mountPath: /disk}]
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
  - name: projected
    projected:
      sources:
      - serviceAccountToken: {path: token, audience: tests, expirationSeconds: 600}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
      - configMap: {name: settings, items: [{key: colour, path: nested/colour}]}
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 16Mi}}
  - {name: host, hostPath: {path: /var/lib/volumes-test, type: DirectoryOrCreate}}
`

// testVolumes gives a pod volumes of all the common kinds.
func testVolumes(u *user) {
	u.apply(volumesOf)
	u.apply(pod("volumes", "worker-1", volumes))
	u.ready("volumes")
	u.demand(u.exec("volumes", "env"), "COLOUR=blue\n", "PASSWORD=sesame\n", "NODE=worker-1\n")
	for path, want := range map[string]string{
		"/settings/colour":         "blue",
		"/one-file":                "large",
		"/keys/password":           "sesame",
		"/projected/labels":        `app="volumes"`,
		"/projected/nested/colour": "blue",
	} {
		if got := u.exec("volumes", "cat", path); got != want {
			u.t.Errorf("%s holds %q, want %q", path, got, want)
		}
	}
	if token := u.exec("volumes", "cat", "/projected/token"); strings.Count(token, ".") != 2 {
		u.t.Errorf("the service account's token is %q", token)
	}
	u.demand(u.exec("volumes", "list", "/keys"), "-r--r----- 0 4711") // the group may read, by fsGroup
	checkDirectories(u)
	u.kubectl("patch", "configmap", "settings", "--patch", "data: {colour: green}")
	u.within(3*time.Minute+u.patience, "the change of a ConfigMap", func() error {
		text, err := u.tryExec("volumes", "cat", "/settings/colour")
		return errors.Join(err, wants(text, "green"))
	})
}

// checkDirectories writes into the directories of the pod volumes.
func checkDirectories(u *user) {
	u.t.Helper()
	mounts := u.exec("volumes", "cat", "/proc/self/mounts")
	u.demand(mounts, "tmpfs /memory tmpfs", " /disk ext4 ", " /node ext4 ", "size=16384k")
	u.exec("volumes", "write", "/disk/note", "for the other container")
	if got := u.kubectl("exec", "volumes", "-c", "other", "--", "/workload", "cat", "/disk/note"); got != "for the other container\n" {
		u.t.Errorf("the other container finds %q", got)
	}
	u.exec("volumes", "write", "/memory/note", "in memory")
	u.exec("volumes", "write", "/node/note", "on the node")
	u.apply(pod("later", "worker-1", `
  restartPolicy: Never
  containers:
  - name: main
    image: kios.local/workload:1
    args: [cat, /node/note]
    volumeMounts: [{name: host, mountPath: /node, readOnly: true}]
  volumes: [{name: host, hostPath: {path: /var/lib/volumes-test, type: Directory}}]
`))
	u.succeeded("later")
	u.demand(u.kubectl("logs", "later"), "on the node\n")
}

// testProbes makes a pod that is not ready at first, and then not alive.
func testProbes(u *user) {
	u.apply(pod("probed", "worker-2", `
  containers:
  - name: main
    image: kios.local/workload:1
    args: [serve, -ready, /tmp/ready, -dead, /tmp/dead]
    startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, failureThreshold: 60}
    readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 2, failureThreshold: 1}
    livenessProbe: {httpGet: {path: /live, port: 8080}, periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 3}
`))
	u.apply(service("probed"))
	u.waitFor("pod/probed", "jsonpath={.status.containerStatuses[0].started}=true")
	const ready = `{.items[*].endpoints[*].conditions.ready}`
	endpoints := func(want string) {
		u.t.Helper()
		u.eventually("an endpoint that is ready: "+want, func() error {
			got := u.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=probed", "-o", "jsonpath="+ready)
			if got != want {
				return fmt.Errorf("ready is %q", got)
			}
			return nil
		})
	}
	endpoints("false")
	u.exec("probed", "write", "/tmp/ready", "yes")
	u.ready("probed")
	endpoints("true")
	u.exec("probed", "write", "/tmp/dead", "yes")
	u.waitFor("pod/probed", "jsonpath={.status.containerStatuses[0].restartCount}=1")
	endpoints("false") // the file is gone with the container
	u.eventually("an event", func() error {
		return wants(u.kubectl("get", "events", "-o", "jsonpath={.items[*].message}"), "Liveness probe failed: HTTP probe failed with statuscode: 503")
	})
}

// testInitContainersAndSidecars runs containers in their order: one that
// prepares, one that stays, one that needs the latter, and the pod's own. At the
// end the one that stays is told to go.
func testInitContainersAndSidecars(u *user) {
	u.apply(pod("ordered", "worker-1", `
  restartPolicy: Never
  volumes: [{name: shared, emptyDir: {}}]
  initContainers:
  - name: prepare
    image: kios.local/workload:1
    args: [write, /shared/prepared, "yes"]
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: sidecar
    image: kios.local/workload:1
    restartPolicy: Always
    args: [serve, -ready, /shared/prepared]
    startupProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 60}
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: needs-sidecar
    image: kios.local/workload:1
    args: [get, "http://127.0.0.1:8080/"]
  containers:
  - name: main
    image: kios.local/workload:1
    args: [get, "http://127.0.0.1:8080/"]
`))
	u.succeeded("ordered")
	for _, container := range []string{"needs-sidecar", "main"} {
		if got := u.kubectl("logs", "ordered", "-c", container); got != "ordered\n" {
			u.t.Errorf("%s wrote %q", container, got)
		}
	}
	finished := func(container string) string {
		return u.field("pod/ordered", `{.status.initContainerStatuses[?(@.name=="`+container+`")].state.terminated.finishedAt}`)
	}
	main := u.field("pod/ordered", "{.status.containerStatuses[0].state.terminated.finishedAt}")
	if prepare, sidecar := finished("prepare"), finished("sidecar"); prepare == "" || prepare > main || sidecar < main {
		u.t.Errorf("prepare ended at %s, main at %s, sidecar at %s", prepare, main, sidecar)
	}
}

// testMemoryLimit runs a program that uses more memory than it may.
func testMemoryLimit(u *user) {
	u.apply(pod("greedy", "worker-2", `
  restartPolicy: Never
  containers:
  - name: main
    image: kios.local/workload:1
    args: [eat, "200"]
    resources: {limits: {memory: 64Mi}}
`))
	u.waitFor("pod/greedy", "jsonpath={.status.phase}=Failed")
	ended := u.field("pod/greedy", "{.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}")
	if ended != "OOMKilled 137" {
		u.t.Errorf("the container ended with %q, want OOMKilled 137", ended)
	}
}

// testProcessorLimit measures what a program gets that takes all it can.
func testProcessorLimit(u *user) {
	u.apply(pod("burning", "worker-1", `
  containers:
  - name: main
    image: kios.local/workload:1
    args: [burn]
    resources: {limits: {cpu: 100m}, requests: {cpu: 10m}}
`))
	u.ready("burning")
	before, start := processorTime(u)
	u.eventually("ten seconds", func() error {
		if since := time.Since(start); since < 10*time.Second {
			return fmt.Errorf("%s are over", since)
		}
		return nil
	})
	after, end := processorTime(u)
	share := float64(after["usage_usec"]-before["usage_usec"]) / float64(end.Sub(start).Microseconds())
	// What runs "cat" is in the container, too.
	if share < 0.05 || share > 0.13 {
		u.t.Errorf("the container got %.2f of a processor, its limit is 0.1", share)
	}
	if after["nr_throttled"] <= before["nr_throttled"] {
		u.t.Errorf("it was not throttled: %v, %v", before, after)
	}
}

// processorTime reads cpu.stat of the pod's cgroup, and when it did.
func processorTime(u *user) (map[string]int64, time.Time) {
	u.t.Helper()
	text := u.exec("burning", "cat", "/sys/fs/cgroup/cpu.stat")
	stat := map[string]int64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		stat[name], _ = strconv.ParseInt(value, 10, 64)
	}
	return stat, time.Now()
}

// testProcessesLimit starts more processes than the kubelet's podPidsLimit.
func testProcessesLimit(u *user) {
	u.apply(pod("many", "worker-2", `
  restartPolicy: Never
  containers: [{name: main, image: "kios.local/workload:1", args: [fork, "300"]}]
`))
	u.succeeded("many")
	var forked int
	said := u.kubectl("logs", "many")
	if _, err := fmt.Sscanf(said, "forked %d of 300: resource temporarily unavailable", &forked); err != nil || forked >= 200 || forked < 100 {
		u.t.Errorf("the pod says %q; it may have 200 processes", said)
	}
}

// testUserNamespace runs a pod whose root is nobody on the node.
func testUserNamespace(u *user) {
	u.apply(pod("mapped", "worker-1", `
  hostUsers: false
  containers:
  - name: main
    image: kios.local/workload:1
    volumeMounts: [{name: disk, mountPath: /disk}]
  volumes: [{name: disk, emptyDir: {}}]
`))
	u.apply(clientPod("plain", "worker-1"))
	u.ready("mapped", "plain")
	uids := func(pod string) (inside, outside, count int64) {
		text := u.exec(pod, "cat", "/proc/self/uid_map")
		if _, err := fmt.Sscan(text, &inside, &outside, &count); err != nil {
			u.t.Fatalf("uid_map of %s is %q", pod, text)
		}
		return inside, outside, count
	}
	if inside, outside, count := uids("mapped"); inside != 0 || outside < 65536 || count != 65536 {
		u.t.Errorf("the pod's users 0 to %d are the node's from %d on", count-1, outside)
	}
	if _, outside, _ := uids("plain"); outside != 0 {
		u.t.Errorf("the other pod's users are the node's from %d on", outside)
	}
	// Its volumes know it as root.
	u.exec("mapped", "write", "/disk/note", "by root")
	u.demand(u.exec("mapped", "list", "/disk"), "note -rw-r--r-- 0 0\n")
}

// busPod can reach its node's bus.
func busPod(name, node, more string) string {
	return pod(name, node, more+`
  containers:
  - name: main
    image: kios.local/busclient:1
    args: [sleep]
    volumeMounts: [{name: bus, mountPath: /run/dbus}]
  volumes: [{name: bus, hostPath: {path: /run/dbus, type: Directory}}]
`)
}

// testSystemBus asks what a node of a cluster refuses: another name for it, and
// anything at all for a pod whose root is not the node's.
func testSystemBus(u *user) {
	u.apply(busPod("agent", "worker-1", ""))
	u.apply(busPod("mapped-agent", "worker-1", "\n  hostUsers: false"))
	u.ready("agent", "mapped-agent")
	ask := func(pod string, args ...string) string {
		return u.kubectl(append([]string{"exec", pod, "--", "/busclient"}, args...)...)
	}
	if got := strings.TrimSpace(ask("agent", "locks")); got != "shutdown kubelet delay" {
		u.t.Errorf("locks are held by %q, want the kubelet's", got)
	}
	u.demand(ask("agent", "try", "rename", "other"), "the node is known to its cluster as worker-1")
	for _, args := range [][]string{{"reboot"}, {"rename", "other"}, {"restart", "kubelet.service"}} {
		u.demand(ask("mapped-agent", append([]string{"try"}, args...)...), "org.freedesktop.DBus.Error.AccessDenied")
	}
}

// noMkdirProfile is in /etc/seccomp of the nodes.
const noMkdirProfile = `{
  "defaultAction": "SCMP_ACT_ALLOW",
  "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
}
`

// testSeccompLocalhost runs pods with a profile of the node's, with the
// runtime's, and with one that is not there.
func testSeccompLocalhost(u *user) {
	for name, profile := range map[string]string{
		"confined": "{type: Localhost, localhostProfile: tests/no-mkdir.json}",
		"usual":    "{type: RuntimeDefault}",
		"lost":     "{type: Localhost, localhostProfile: tests/none.json}",
	} {
		u.apply(pod(name, "worker-2", `
  securityContext: {seccompProfile: `+profile+`}
  containers: [{name: main, image: "kios.local/workload:1"}]
`))
	}
	u.ready("confined", "usual")
	u.exec("usual", "mkdir", "/made")
	_, err := u.tryExec("confined", "mkdir", "/made")
	if err == nil || !strings.Contains(err.Error(), "operation not permitted") {
		u.t.Errorf("a pod whose profile forbids it made a directory: %v", err)
	}
	u.eventually("an event about the profile that is missing", func() error {
		return wants(u.kubectl("get", "events", "--field-selector=involvedObject.name=lost", "-o", "jsonpath={.items[*].message}"), "tests/none.json")
	})
}

// mirroredPod is a static pod of both nodes.
const mirroredPod = `apiVersion: v1
kind: Pod
metadata: {name: mirrored, namespace: default, uid: 6d6972726f7265640000000000000000}
spec:
  hostNetwork: true
  containers: [{name: main, image: "kios.local/workload:1", args: [tick]}]
`

// testMirrorPod demands that the API server shows a static pod, that its logs
// are there, and that deleting what it shows ends nothing.
func testMirrorPod(u *user) {
	u.namespace = "default"
	const object = "pod/mirrored-worker-1"
	u.waitFor(object, "condition=Ready")
	if got := u.field(object, `{.metadata.annotations.kubernetes\.io/config\.source}`); got != "file" {
		u.t.Errorf("the pod's source is %q, want file", got)
	}
	u.demand(u.kubectl("logs", "mirrored-worker-1"), "tick 1\n")
	container, uid := u.field(object, "{.status.containerStatuses[0].containerID}"), u.field(object, "{.metadata.uid}")
	u.kubectl("delete", object, "--wait=false")
	u.eventually("a new mirror", func() error {
		text, err := u.try("get", object, "-o", "jsonpath={.metadata.uid} {.status.containerStatuses[0].containerID}")
		if err != nil {
			return err
		}
		newUID, newContainer, _ := strings.Cut(text, " ")
		if newUID == uid || newContainer == "" {
			return fmt.Errorf("it is still %s", text)
		}
		if newContainer != container {
			u.t.Errorf("the container was %s and is %s", container, newContainer)
		}
		return nil
	})
}
