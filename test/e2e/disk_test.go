//go:build image

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"kios/host/kubeletapi"
	"kios/host/pki"
	"kios/host/qemu"
	"kios/test/lab"
	"kios/test/lab/machine"
)

// The partition and its file system take the space that the disk has got, while
// a pod writes.
func TestDataPartitionGrows(t *testing.T) {
	n := prepare(t, setup{
		few:    true,
		diskMB: 4 << 10,
		pods:   map[string]string{"writer": pod("writer", "/var/lib/writer", "-every", "20ms", "-write", "/data/records")},
	})
	const gib = 1 << 30
	n.must(os.Truncate(n.disk, 40*gib))
	n.start()
	n.running("probe")
	n.running("writer")
	n.eventually("a file system of 40 GiB", func(ctx context.Context) error {
		text, err := n.tryProbe(ctx, "size", "/var/lib")
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err == nil && size < 38*gib {
			err = fmt.Errorf("it has %d MiB", size>>20)
		}
		return err
	})
	const records = "/var/lib/writer/records"
	before := lastRecord(n.probe("cat", records))
	n.eventually("the writer still writing", func(ctx context.Context) error {
		text, err := n.tryProbe(ctx, "cat", records)
		if last := lastRecord(text); err == nil && last <= before {
			err = fmt.Errorf("record %d is the last one, as it was before", last)
		}
		return err
	})
	if p := n.running("writer"); p.Containers[0].Restarts != 0 {
		t.Errorf("the writer was restarted: %+v", p.Containers[0])
	}
	n.powerOff()
	n.demandCleanDisk()
	if out, err := exec.Command("sgdisk", "-v", n.disk).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v: %v\n%s", err, out)
	}
}

// prepareBare makes a machine without any data partition; what a test wants on
// the node comes with the initramfs.
func prepareBare(t *testing.T, appendix string, disks ...qemu.Disk) *node {
	t.Helper()
	n := &node{t: t, name: nodeName}
	n.cfg = n.config(setup{append: appendix, memory: 1024})
	n.cfg.Disks = disks
	ca, err := pki.NewCA("kiOS test")
	n.must(err)
	key, err := ca.Key()
	n.must(err)
	client, err := ca.Client("test")
	n.must(err)
	n.access = kubeletapi.Options{ServerName: nodeName, CA: ca.Cert(), Cert: client.Cert, Key: client.Key}
	n.cfg.Initrd = withExtra(t, map[string]string{
		"extra/etc/hostname":                        nodeName + "\n",
		"extra/etc/kubernetes/pki/ca.crt":           string(ca.Cert()),
		"extra/etc/kubernetes/pki/ca.key":           string(key),
		"extra/etc/kubernetes/manifests/probe.yaml": probe,
	}, lab.Out(t, "hello.tar"), machine.Image(t, "probe", "probe"))
	return n
}

// sparse makes a disk of zeros.
func sparse(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	lab.Must(t, err)
	lab.Must(t, errors.Join(f.Truncate(size), f.Close()))
	return path
}

// A node without a data partition makes one on the blank disk, and moves there.
// The next boot finds it.
func TestBlankDiskIsTaken(t *testing.T) {
	disk := sparse(t, 2<<30)
	n := prepareBare(t, "kios.disk=auto", qemu.Disk{Path: disk})
	n.start()
	n.expect(`no data partition`)
	n.expect(`moving onto the data partition /dev/vda1`)
	n.expect(`data partition /dev/vda1$`)
	n.expect(`kubelet ready`)
	n.running("probe")
	n.probe("write", "/var/lib/file", "kept")
	id := n.probe("cat", "/etc/machine-id")
	n.powerOff()

	n.cfg.Append = strings.Replace(n.cfg.Append, "kios.disk=auto", "", 1)
	n.reboot()
	n.expect(`data partition /dev/vda1$`)
	n.running("probe")
	if got := strings.TrimSpace(n.probe("cat", "/var/lib/file")); got != "kept" {
		t.Errorf("the file of the first boot holds %q", got)
	}
	if got := n.probe("cat", "/etc/machine-id"); got != id {
		t.Errorf("the machine-id is %s, was %s in memory: what was written to /etc did not come along", got, id)
	}
	n.powerOff()
}

// Disks with anything on them are left alone, and named.
func TestDisksInUseAreRefused(t *testing.T) {
	const size = 512 << 20
	disks := map[string]string{"NTFS": sparse(t, size), "LVM": sparse(t, size), "GPT": sparse(t, size)}
	writeLVM(t, disks["LVM"])
	for _, argv := range [][]string{{"mkfs.ntfs", "-q", "-F", disks["NTFS"]}, {"sgdisk", "-n", "1:2048:+64M", disks["GPT"]}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	before := map[string]string{}
	for kind, path := range disks {
		before[kind] = sum(t, path)
	}
	n := prepareBare(t, "kios.disk=auto", qemu.Disk{Path: disks["NTFS"]}, qemu.Disk{Path: disks["LVM"]}, qemu.Disk{Path: disks["GPT"]})
	n.start()
	n.running("probe")
	n.eventually("the refusal", func(ctx context.Context) error {
		text, err := n.api.Logs(ctx, "kube-system", "disk-"+n.name, "disk")
		for _, want := range []string{"/dev/vda", "/dev/vdb", "/dev/vdc", "ntfs", "lvm2", "gpt"} {
			if err == nil && !strings.Contains(strings.ToLower(string(text)), want) {
				err = fmt.Errorf("its log does not tell of %s: %s", want, text)
			}
		}
		return err
	})
	n.powerOff()
	for kind, path := range disks {
		if sum(t, path) != before[kind] {
			t.Errorf("the disk with %s was written to", kind)
		}
	}
}

// writeLVM writes what identifies a physical volume: pvcreate wants a device.
func writeLVM(t *testing.T, path string) {
	t.Helper()
	label := make([]byte, 512)
	copy(label, "LABELONE")
	binary.LittleEndian.PutUint64(label[8:], 1)
	binary.LittleEndian.PutUint32(label[20:], 32)
	copy(label[24:], "LVM2 001")
	copy(label[32:], "0123456789abcdef0123456789abcdef")
	crc := uint32(0xf597a6cf)
	for _, b := range label[20:] {
		crc ^= uint32(b)
		for range 8 {
			crc = crc>>1 ^ 0xedb88320&-(crc&1)
		}
	}
	binary.LittleEndian.PutUint32(label[16:], crc)
	writeAt(t, path, label, 512)
}

func writeAt(t *testing.T, path string, data []byte, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	lab.Must(t, err)
	_, err = f.WriteAt(data, at)
	lab.Must(t, errors.Join(err, f.Close()))
}

func sum(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	lab.Must(t, err)
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// An ext4 that notes errors in itself is repaired before it is used.
func TestDataPartitionIsRepaired(t *testing.T) {
	n := prepare(t, setup{few: true, memory: 1024})
	f, err := os.OpenFile(n.disk, os.O_RDWR, 0)
	n.must(err)
	start := int64(n.findData(f).FirstLBA) * 512
	n.must(f.Close())
	// EXT4_VALID_FS | EXT4_ERROR_FS, and the superblock's checksum after it.
	fs := fmt.Sprintf("%s?offset=%d", n.disk, start)
	if out, err := exec.Command("debugfs", "-w", "-R", "set_super_value state 3", fs).CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
	n.start()
	n.expect(`the file system of the data partition /dev/vda2 has errors`)
	n.expect(`moving onto the data partition /dev/vda2`)
	n.running("probe")
	n.powerOff()
	n.demandCleanDisk()
}
