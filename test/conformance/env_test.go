//go:build conformance

package conformance

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/host/build"
	"kios/host/clusterconfig"
	"kios/host/diskimage"
	"kios/host/qemu"
	"kios/test/lab"
	"kios/test/lab/controlplane"
	"kios/test/lab/machine"
	"kios/test/lab/netns"
)

// The control plane's end of the network, and the node.
const (
	gateway     = "10.79.0.1"
	endpoint    = gateway + ":6443"
	nodeAddress = "10.79.0.11"
	nodeName    = "node-1"
	tap         = "tap1"

	// The tests keep many pods at once, and agnhost's 50 MB in the page cache.
	nodeMemory = 2 << 30
)

// env is a cluster of one node.
type env struct {
	*controlplane.ControlPlane
	t       *testing.T
	builder *build.Builder
	name    string // of the network namespace
	dir     string // stays if the test fails
	machine *qemu.Machine
}

// newEnv boots a node and waits until it is ready. Images come from the library.
func newEnv(t *testing.T, b *build.Builder, images library) *env {
	t.Helper()
	e := &env{t: t, builder: b, dir: lab.KeptDir(t), name: fmt.Sprintf("kios-conformance-%d", os.Getpid())}
	e.makeNetwork()
	e.serve(images)
	version, err := e.builder.NewestControlPlane()
	lab.Must(t, err)
	products, err := e.builder.Cluster(t.Context(), version)
	lab.Must(t, err)
	cluster, err := clusterconfig.Open(filepath.Join(e.dir, "cluster"), clusterconfig.Config{Endpoint: endpoint})
	lab.Must(t, err)
	e.ControlPlane = controlplane.Start(t, e.name, cluster, products.Bin)
	e.ApplyAddOns()
	e.boot(e.makeDisk(products.Worker))
	return e
}

func (e *env) makeNetwork() {
	e.t.Helper()
	netns.Add(e.t, e.name)
	for _, args := range [][]string{
		{"link", "add", "lan", "type", "bridge"},
		{"addr", "add", gateway + "/24", "dev", "lan"},
		{"link", "set", "lan", "up"},
		{"tuntap", "add", tap, "mode", "tap"},
		{"link", "set", tap, "master", "lan", "up"},
	} {
		netns.IP(e.t, e.name, args...)
	}
	netns.Start(e.t, e.name, nil, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null",
		"--user=root", "--pid-file=", "--no-resolv", "--no-hosts", "--listen-address="+gateway, "--bind-interfaces")
}

// serve is the registry.
func (e *env) serve(images library) {
	e.t.Helper()
	server := &http.Server{Handler: images}
	go server.Serve(netns.Listen(e.t, e.name, registryAddress))
	e.t.Cleanup(func() { server.Close() })
}

// makeDisk writes the node's files, and the images of the cluster's add-ons, to a disk.
func (e *env) makeDisk(layouts []string) (disk string) {
	e.t.Helper()
	files, err := e.Cluster().Worker(clusterconfig.Node{Name: nodeName})
	lab.Must(e.t, err)
	etc := filepath.Join(e.dir, "etc")
	lab.Must(e.t, files.Write(etc))
	for path, text := range map[string]string{
		"kios/network.yaml": fmt.Sprintf("interfaces:\n  eth0:\n    addresses: [%s/24]\n    routes: [{to: default, via: %s}]\n    dns: [%[2]s]\n",
			nodeAddress, gateway),
		// NRI is off by itself. Without plugins it changes nothing, and critest brings one.
		"containerd/config.toml":                 "version = 3\n[plugins.\"io.containerd.nri.v1.nri\"]\ndisable = false\n",
		"containerd/certs.d/_default/hosts.toml": "[host.\"http://" + registryAddress + "\"]\n",
		// The registry that a pod of the tests is, on the node's own network.
		"containerd/certs.d/localhost:5000/hosts.toml": "[host.\"http://localhost:5000\"]\n",
	} {
		lab.WriteFile(e.t, filepath.Join(etc, path), text)
	}
	disk = filepath.Join(e.dir, "node.raw")
	lab.Must(e.t, diskimage.Create(e.t.Context(), diskimage.Options{
		EFI: lab.Out(e.t, "kios.efi"), Etc: etc, OCI: layouts, Size: 6 << 30, Out: disk,
	}))
	return disk
}

func (e *env) boot(disk string) {
	e.t.Helper()
	m, err := qemu.Start(e.t.Context(), qemu.Config{
		Kernel: lab.Out(e.t, "vmlinuz"), Initrd: lab.Out(e.t, "initrd"),
		Append:    strings.TrimSpace(lab.ReadFile(e.t, lab.Out(e.t, "cmdline"))),
		Disks:     []qemu.Disk{{Path: disk, Unsafe: true}},
		Memory:    nodeMemory,
		NoNetwork: true,
		Taps:      []*os.File{netns.OpenTap(e.t, e.name, tap)},
		Dir:       e.dir,
	})
	lab.Must(e.t, err)
	e.machine = m
	e.t.Cleanup(e.end)
	bound := m.Scale(time.Minute)
	lab.Eventually(e.t, bound, "the node is ready", func() error {
		_, err := e.TryKubectl("", "wait", "--for=condition=Ready", "node/"+nodeName, "--timeout=10s")
		return err
	})
	lab.Eventually(e.t, bound, "all pods of the system are ready", func() error {
		_, err := e.TryKubectl("", "wait", "-n", "kube-system", "--for=condition=Available", "deployment", "--all", "--timeout=10s")
		return err
	})
}

// end switches the node off. Its logs stay if the test failed.
func (e *env) end() {
	if e.t.Failed() {
		e.t.Logf("console of the node:\n%s", machine.Console(e.machine, 60))
		e.saveLogs()
	}
	e.machine.Kill()
}

func (e *env) saveLogs() {
	for _, name := range []string{"kubelet", "containerd", "kernel"} {
		text, err := e.TryKubectl("", "get", "--raw", "/api/v1/nodes/"+nodeName+"/proxy/logs/?query="+name)
		if err == nil {
			err = os.WriteFile(filepath.Join(e.dir, name+".log"), []byte(text), 0o644)
		}
		if err != nil {
			e.t.Logf("the node's log of %s: %v", name, err)
		}
	}
}

// command is a program in the network namespace, with nothing of the host's but that.
func (e *env) command(ctx context.Context, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + e.name, "--"}, argv...)...)
}
