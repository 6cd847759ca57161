//go:build image

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kios/host/kubeletapi"
	"kios/test/lab/machine"
)

// fleetKubelet is a kubelet's configuration as other distributions have them: with what
// is true there and not on this node, fields and gates of other releases, and settings
// that exclude defaults of the node's.
const fleetKubelet = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
metadata: {name: kubelet}
address: 0.0.0.0
cgroupDriver: systemd
cgroupRoot: /system.slice
kubeletCgroups: /podruntime.slice/kubelet
systemCgroups: /system.slice
kubeReservedCgroup: /podruntime.slice
systemReservedCgroup: /system.slice
enforceNodeAllocatable: [pods, kube-reserved, system-reserved]
systemReserved: {memory: 8Gi, cpu: "9"}
containerRuntimeEndpoint: unix:///run/crio/crio.sock
imageServiceEndpoint: unix:///run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock
staticPodPath: /etc/kubelet.d
resolvConf: /run/systemd/resolve/resolv.conf
containerLogMaxSize: 10MB
allowedUnsafeSysctls: ["net.*", vm.max_map_count]
configTrialDuration: 10m0s
featureGates: {ExpandCSIVolumes: true, KubeletCredentialProviders: true}
shutdownGracePeriodByPodPriority:
- {priority: 100000, shutdownGracePeriodSeconds: 4}
- {priority: 0, shutdownGracePeriodSeconds: 5}
evictionMinimumReclaim: null
maxPods: 30
`

// fleetContainerd is containerd's, as kubeadm's instructions for Ubuntu make it.
const fleetContainerd = `version = 2
root = "/var/lib/elsewhere"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.example/pause:3.9"
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
  default_runtime_name = "nvidia"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
  BinaryName = "/usr/bin/nvidia-container-runtime"
  SystemdCgroup = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
`

// fleetFlags are the kubelet's, as scripts and units of other distributions have them.
const fleetFlags = `--cloud-provider=external
--container-log-max-files=4
--container-runtime=remote
--pod-manifest-path=/etc/kubelet.d
`

// fleetEnvironment is that of the daemons, from a file of lines of a shell. One is right.
const fleetEnvironment = `environment:
  EXAMPLE: "a b"
  https_proxy=http://proxy.example:3128
  LD_PRELOAD: /lib/x.so
`

// work returns the manifest of a pod of the workload image. The last arguments are more
// fields of its container and of its spec, as YAML in braces.
func work(name, args, container, spec string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec: {hostNetwork: true, terminationGracePeriodSeconds: 1%s,
  containers: [{name: main, image: "kios.local/workload:1", args: [%s]%s}]}
`, name, spec, args, container)
}

// annotated is a pod that names its container's AppArmor profile as before Kubernetes
// 1.30. The kubelet (1.35) still honours the annotation in static pods, of which no API
// server has made a field. What it makes of runtime/default cannot be told from what a
// container gets that names nothing, but what it makes of unconfined can.
func annotated(name, profile string) string {
	annotations := ", annotations: {container.apparmor.security.beta.kubernetes.io/main: " + profile + "}}\nspec:"
	return strings.Replace(work(name, "cat, /proc/self/attr/current", "", ""), "}\nspec:", annotations, 1)
}

// onPath is a volume of a host path, mounted at /data.
func onPath(path, kind string) (container, spec string) {
	if kind != "" {
		kind = ", type: " + kind
	}
	return ", volumeMounts: [{name: data, mountPath: /data}]", fmt.Sprintf(", volumes: [{name: data, hostPath: {path: %s%s}}]", path, kind)
}

// ended waits until a pod's container has run, and returns what it wrote.
func (n *node) ended(name string) string {
	n.t.Helper()
	n.podWith(name, "started", func(p kubeletapi.Pod) bool {
		return len(p.Containers) == 1 && (p.Containers[0].Running != nil || p.Containers[0].Terminated != nil || p.Containers[0].Restarts > 0)
	})
	var text string
	n.eventually("output of "+name, func(ctx context.Context) error {
		out, err := n.api.Logs(ctx, "default", name+"-"+n.name, "main")
		if text = string(out); err == nil && text == "" {
			err = fmt.Errorf("%s has written nothing", name)
		}
		return err
	})
	return text
}

// fieldPods are pods that do what pods do elsewhere.
func fieldPods() map[string]string {
	pods := map[string]string{
		"limits":     work("limits", "cat, /proc/self/limits", "", ""),
		"confined":   work("confined", "cat, /proc/self/attr/current", ", securityContext: {appArmorProfile: {type: RuntimeDefault}}", ""),
		"unconfined": work("unconfined", "cat, /proc/self/attr/current", ", securityContext: {appArmorProfile: {type: Unconfined}}", ""),
		"annotated":  annotated("annotated", "runtime/default"),
		"released":   annotated("released", "unconfined"),
		"strangler":  work("strangler", `signal, "1", "1", "3-14", "16-31", "34-37", "39-64"`, ", securityContext: {runAsUser: 0, capabilities: {drop: [ALL]}, appArmorProfile: {type: Unconfined}}", ", hostPID: true"),
		"iptables":   iptablesPod,
		"threads":    work("threads", `threads, "100000"`, "", ""),
	}
	for name, v := range map[string][2]string{
		"zone":      {"/etc/localtime", "File"},
		"release":   {"/usr/lib/os-release", "File"},
		"certs":     {"/usr/share/ca-certificates", "DirectoryOrCreate"},
		"localcert": {"/usr/local/share/ca-certificates", "DirectoryOrCreate"},
		"flex":      {"/usr/libexec/kubernetes/kubelet-plugins/volume/exec", "DirectoryOrCreate"},
	} {
		container, spec := onPath(v[0], v[1])
		pods[name] = work(name, "list, /", container, spec)
	}
	container, spec := onPath("/opt/local-path-provisioner/pvc-1", "DirectoryOrCreate")
	pods["local"] = work("local", "write, /data/file, kept", container, spec)
	return pods
}

// TestFleet boots a node with files of other distributions and with pods that do what
// pods do elsewhere: the files are taken, less what cannot be true here, and the pods run.
func TestFleet(t *testing.T) {
	t.Parallel()
	n := boot(t, setup{
		memory: 1024,
		images: []string{machine.Image(t, "workload", "workload"), iptablesImage(t)},
		pods:   fieldPods(),
		etc: map[string]string{
			"hostname":                 "# what a tool has written\n\nnode\n",
			"kubernetes/config.yaml":   fleetKubelet,
			"containerd/config.toml":   fleetContainerd,
			"kubernetes/kubelet-flags": fleetFlags,
			"kios/environment.yaml":    fleetEnvironment,
			"sysctl.d/50-mine.conf":    "net.core.somaxconn = 12345\nno.such.key = 1\n",
		},
	})
	n.running("network")
	n.running("probe")
	for name, check := range map[string]func(*testing.T, *node){
		"kubelet": checkFleetKubelet, "named": checkNamed, "limits": checkLimits, "paths": checkPaths,
		"apparmor": checkAppArmor, "signals": checkSignals, "threads": checkThreads,
		"iptables": checkIPTables,
	} {
		t.Run(name, func(t *testing.T) { check(t, n) })
	}
	n.eventually("the file", func(ctx context.Context) error {
		_, err := n.tryProbe(ctx, "cat", "/opt/local-path-provisioner/pvc-1/file")
		return err
	})
	n.powerOff()
	n.demandCleanDisk()
	if got := n.fileOnDisk("/data/var/opt/local-path-provisioner/pvc-1/file"); !strings.Contains(got, "kept") {
		t.Errorf("the file of a host path is %q on the disk", got)
	}
}

// checkLimits looks at a program that raises its soft limit, as Go's do, and at one that
// does not.
func checkLimits(t *testing.T, n *node) {
	if got := n.ended("limits"); !regexp.MustCompile(`Max open files +\d+ +1048576`).MatchString(got) {
		t.Errorf("a container has the limits\n%s", got)
	}
	var f facts
	n.probeJSON(&f, "show", "processes")
	sandboxes := f.sandboxes()
	if len(sandboxes) == 0 {
		t.Fatal("there is no sandbox")
	}
	if got := n.probe("cat", fmt.Sprintf("/proc/%d/limits", sandboxes[0].PID)); !regexp.MustCompile(`Max open files +1024 +1048576`).MatchString(got) {
		t.Errorf("a sandbox has the limits\n%s", got)
	}
}

func checkPaths(_ *testing.T, n *node) {
	for _, name := range []string{"zone", "release", "certs", "localcert", "flex"} {
		n.ended(name)
	}
}

func checkAppArmor(t *testing.T, n *node) {
	const confined = "cri-containerd.apparmor.d (enforce)"
	for name, want := range map[string]string{"confined": confined, "unconfined": "unconfined", "annotated": confined, "released": "unconfined"} {
		if got := strings.TrimSpace(n.ended(name)); got != want {
			t.Errorf("the profile of %s is %q, want %q", name, got, want)
		}
	}
}

// checkSignals has a pod send all signals to PID 1 that do not stop a node.
func checkSignals(t *testing.T, n *node) {
	if got := n.ended("strangler"); !strings.Contains(got, "signal 1 to 1: <nil>") {
		t.Errorf("the pod could not send signals: %s", got)
	}
	n.expect(`warning: some process sent SIG`)
	n.probe("cat", "/proc/1/comm") // it is still there
}

// checkThreads has a pod start threads without end: it has as many as its cgroup admits.
func checkThreads(t *testing.T, n *node) {
	got := n.ended("threads")
	m := regexp.MustCompile(`failed to create new OS thread \(have (\d+) already; errno=11\)`).FindStringSubmatch(got)
	if m == nil {
		t.Fatalf("threads without end: %.500s", got)
	}
	if count, _ := strconv.Atoi(m[1]); count > 20000 {
		t.Errorf("one pod has started %d threads", count)
	}
}

// checkFleetKubelet compares what the kubelet has in force.
func checkFleetKubelet(t *testing.T, n *node) {
	body, err := n.api.Get(t.Context(), "/configz")
	n.must(err)
	var z struct {
		KubeletConfig struct {
			MaxPods                          int
			StaticPodPath, ResolvConf        string
			CgroupDriver                     string
			ShutdownGracePeriodByPodPriority []struct{ Priority int }
			AllowedUnsafeSysctls             []string
			ContainerLogMaxFiles             int
		}
	}
	n.must(json.Unmarshal(body, &z))
	c := z.KubeletConfig
	if c.MaxPods != 30 || c.ContainerLogMaxFiles != 4 || len(c.ShutdownGracePeriodByPodPriority) != 2 {
		t.Errorf("what is valid is not in force: %+v", c)
	}
	if c.StaticPodPath != "/etc/kubernetes/manifests" || c.ResolvConf != "/etc/resolv.conf" {
		t.Errorf("what cannot be true here is in force: %+v", c)
	}
	if got := n.ofDaemon("containerd", "environ"); !slices.Contains(got, "EXAMPLE=a b") || strings.Contains(strings.Join(got, " "), "LD_PRELOAD") {
		t.Errorf("containerd's environment is %q", got)
	}
	if got := n.probe("show", "net.core.somaxconn"); !strings.Contains(got, "12345") {
		t.Errorf("a user's sysctl: %s", got)
	}
}

// checkNamed demands a line for each setting that is not in force.
func checkNamed(t *testing.T, n *node) {
	logs := n.probe("cat", "/var/log/kubelet.log") + n.probe("cat", "/var/log/containerd.log") + n.probe("cat", "/var/log/kernel.log")
	for _, want := range []string{
		"cgroupRoot", "kubeReservedCgroup", "systemReservedCgroup", "systemReserved", "containerRuntimeEndpoint", "imageServiceEndpoint", "staticPodPath",
		"resolvConf", "containerLogMaxSize", "vm.max_map_count", "configTrialDuration", "ExpandCSIVolumes",
		"SystemdCgroup", "sandbox", "snapshotter", "nvidia", "no.such.key",
		"kubelet-flags, line 3: ignoring --container-runtime", "ignoring staticPodPath /etc/kubelet.d",
		"environment.yaml, line 3 is left out", "environment.yaml, line 4 is left out: LD_PRELOAD",
	} {
		if !regexp.MustCompile(`(?m)^.*kios: .*` + regexp.QuoteMeta(want)).MatchString(logs) {
			t.Errorf("no line of kiOS names %s", want)
		}
	}
}

// ofDaemon returns a file of a daemon's in /proc that has texts which end with a zero.
func (n *node) ofDaemon(name, file string) []string {
	n.t.Helper()
	var f facts
	n.probeJSON(&f, "show", "processes")
	i := slices.IndexFunc(f.Processes, func(p process) bool { return p.Exe == "/bin/"+name })
	if i < 0 {
		n.t.Fatalf("%s does not run", name)
	}
	return strings.Split(n.probe("cat", fmt.Sprintf("/proc/%d/%s", f.Processes[i].PID, file)), "\x00")
}

// TestMemoryPressure has a pod without limits take all memory of a small node, several
// times: the pod ends, and the node answers all the time.
func TestMemoryPressure(t *testing.T) {
	t.Parallel()
	n := boot(t, setup{
		few:    true,
		memory: 512,
		images: []string{machine.Image(t, "workload", "workload")},
		pods:   map[string]string{"eater": work("eater", `eat, "4000"`, "", "")},
	})
	n.running("probe")
	n.expect(`warning: memory ran out: the kernel ended process .* of pod default/eater`)
	n.eventually("some ends of the pod", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, n.Scale(10*time.Second))
		defer cancel()
		if err := n.api.Healthz(ctx); err != nil {
			t.Errorf("the kubelet does not answer: %v", err)
			return nil
		}
		pods, err := n.api.Pods(ctx)
		if err != nil {
			return err
		}
		p, found := kubeletapi.Find(pods, "default", "eater-"+n.name)
		if !found || len(p.Containers) != 1 || p.Containers[0].Restarts < 3 {
			return fmt.Errorf("the pod is %+v", p)
		}
		return nil
	})
	if n.consoleHas(`(containerd|kubelet) \(pid \d+\) ended`) {
		t.Error("a daemon of the node has ended")
	}
	n.probe("cat", "/proc/1/comm")
	n.powerOff()
}
