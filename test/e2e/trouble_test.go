//go:build image

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/host/cpio"
	"kios/host/kubeletapi"
	"kios/host/qemu"
	"kios/test/lab"
)

// Bad files of every kind on one node: each is named, none keeps the node from
// coming up.
func TestGarbageIsNamedAndSurvived(t *testing.T) {
	n := boot(t, setup{
		memory: 1024, // the system pods run, too
		extra:  map[string]string{"images/broken.tar": "this is no archive"},
		pods: map[string]string{
			"garbage": "{ this: is: not: yaml",
			"missing": strings.ReplaceAll(pod("missing", "/var/lib/missing"), "kios.local/hello:1", "kios.local/absent:1"),
		},
		etc: map[string]string{
			"kubernetes/config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: many\n",
			"kubernetes/node-labels": "zone: a\nno colon here\n",
			"kubernetes/node-ip":     "not an address\n",
			"containerd/config.toml": "version = \"none\n",
			"kios/network.yaml":      "no-such-field: {\x01\n",
			"kios/time.yaml":         "no-such-field: {\x01\n",
			"kios/disk.yaml":         "no-such-field: {\x01\n",
			"kios/modules.yaml":      "no-such-field: {\x01\n",
		},
	})
	n.running("probe")
	missing := n.podWith("missing", "waiting for its image", func(p kubeletapi.Pod) bool {
		return len(p.Containers) == 1 && p.Containers[0].Waiting != nil && strings.Contains(p.Containers[0].Waiting.Reason, "Image")
	})
	if !strings.Contains(missing.Containers[0].Waiting.Message, "kios.local/absent:1") {
		t.Errorf("the waiting message does not name the image: %q", missing.Containers[0].Waiting.Message)
	}
	logs := n.probe("cat", "/var/log/kubelet.log") + n.probe("cat", "/var/log/containerd.log") + n.probe("cat", "/var/log/kernel.log")
	for _, want := range []string{
		"garbage.yaml", "/etc/kubernetes/config.yaml", "/etc/kubernetes/node-labels",
		"/etc/kubernetes/node-ip", "/etc/containerd/config.toml", "broken.tar",
	} {
		if !strings.Contains(logs, want) {
			t.Errorf("no log names %s", want)
		}
	}
	for _, name := range []string{"network", "time", "disk", "modules"} {
		n.eventually("a word of "+name, func(ctx context.Context) error {
			text, err := n.api.Logs(ctx, "kube-system", name+"-"+n.name, name)
			if err == nil && !strings.Contains(string(text), "/etc/kios/"+name+".yaml") {
				err = fmt.Errorf("its log does not name the file: %s", text)
			}
			return err
		})
	}
	n.podWith("network", "running", func(p kubeletapi.Pod) bool { return p.Done() })
	n.powerOff()
}

func TestCorruptDataPartitionIsLeftAlone(t *testing.T) {
	n := boot(t, setup{few: true})
	n.Kill()
	f, err := os.OpenFile(n.disk, os.O_RDWR, 0)
	n.must(err)
	start := int64(n.findData(f).FirstLBA) * 512
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, 256<<10), start) // the superblock and the group descriptors
	n.must(err)
	before := make([]byte, 32<<20)
	_, err = f.ReadAt(before, start)
	n.must(err)

	n.reboot()
	n.expect(`data partition /dev/vda2 holds no sound ext4`)
	n.expect(`pod kube-system/network.* container network started`)
	n.powerOff()
	after := make([]byte, len(before))
	_, err = f.ReadAt(after, start)
	n.must(err)
	n.must(f.Close())
	if !bytes.Equal(before, after) {
		t.Error("the node has written to a partition that it could not mount")
	}
}

func TestFullDataPartition(t *testing.T) {
	// VMware's controller, where there is a driver for it.
	bus := cmp.Or(lab.Arch(t).QEMU.VMwareDisk, "scsi")
	n := boot(t, setup{few: true, bus: bus, card: "vmxnet3", diskMB: 1024, pods: map[string]string{"full": pod("full", "/var/lib/full")}})
	n.expect(`data partition /dev/sda2`)
	n.running("full")
	n.running("probe")
	n.probe("fill", "/var/lib/full")
	n.powerOff()
	n.reboot()
	n.running("probe")
	n.powerOff()
	n.demandCleanDisk()
}

func TestSmallMachine(t *testing.T) {
	memory := int64(256)
	if lab.Arch(t).QEMU.Firmware.Direct != "" {
		memory = 448 // the firmware has the initrd, and the kernel a copy
	}
	n := boot(t, setup{memory: memory, pods: map[string]string{"small": pod("small", "/var/lib/small")}})
	n.running("small")
	if got := n.logs("small"); !strings.Contains(got, "hello") {
		t.Errorf("the pod wrote %q, want hello", got)
	}
	n.powerOff()
}

// Without any disk everything is in RAM. The pod comes in a second initramfs.
func TestNoDisk(t *testing.T) {
	n := prepare(t, setup{}) // the disk is for the certificates only
	n.cfg.Disks = nil
	n.cfg.Initrd = withExtra(t, map[string]string{
		"extra/etc/hostname":                      nodeName + "\n",
		"extra/etc/kubernetes/manifests/ram.yaml": pod("ram", "/var/lib/ram"),
	}, lab.Out(t, "hello.tar"))
	n.start()
	n.expect(`no data partition`)
	n.expect(`pod default/ram.* container main started`)
	n.powerOff()
}

// withExtra appends to the initrd a second archive with a user's files.
func withExtra(t *testing.T, files map[string]string, images ...string) string {
	t.Helper()
	var extra bytes.Buffer
	w := cpio.NewWriter(&extra)
	check := func(err error) {
		t.Helper()
		lab.Must(t, err)
	}
	for _, dir := range []string{"extra", "extra/etc", "extra/etc/kubernetes", "extra/etc/kubernetes/manifests", "extra/etc/kubernetes/pki", "extra/images"} {
		check(w.Dir(dir, 0o755))
	}
	for path, text := range files {
		check(w.File(path, 0o644, int64(len(text)), strings.NewReader(text)))
	}
	for _, image := range images {
		check(w.FileFrom("extra/images/"+filepath.Base(image), 0o644, image))
	}
	check(w.Close())
	initrd, err := os.ReadFile(lab.Out(t, "initrd"))
	check(err)
	path := filepath.Join(t.TempDir(), "initrd")
	check(os.WriteFile(path, append(initrd, extra.Bytes()...), 0o644))
	return path
}

// A root that cannot be mounted ends with a cause, a remedy and a reboot.
func TestBrokenRootRebootsAfterTenSeconds(t *testing.T) {
	t.Parallel() // it waits more than it works
	n := &node{t: t}
	n.cfg = n.config(setup{})
	n.cfg.Disks, n.cfg.NoReboot = nil, true
	n.cfg.Initrd = brokenInitrd(t)
	m, err := qemu.Start(t.Context(), n.cfg)
	n.must(err)
	defer m.Kill()
	n.Machine = m
	n.expect(`rootfs.erofs`)
	ctx, cancel := context.WithTimeout(t.Context(), n.Scale(30*time.Second))
	defer cancel()
	end, err := m.Wait(ctx)
	n.must(err)
	if end != qemu.Rebooted {
		t.Errorf("the machine has %s, want rebooted", end)
	}
}

// brokenInitrd returns an initrd whose root is not a file system.
func brokenInitrd(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(lab.Out(t, "initrd"))
	lab.Must(t, err)
	root, err := os.ReadFile(lab.Out(t, "rootfs.erofs"))
	lab.Must(t, err)
	at := bytes.Index(data, root[:64<<10])
	if at < 0 {
		t.Fatal(errors.New("the initrd does not hold rootfs.erofs"))
	}
	copy(data[at:], make([]byte, 64<<10))
	path := filepath.Join(t.TempDir(), "initrd")
	lab.Must(t, os.WriteFile(path, data, 0o644))
	return path
}
