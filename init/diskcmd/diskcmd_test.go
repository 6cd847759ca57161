package diskcmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab"

	"golang.org/x/sys/unix"
)

// The interpreter of a program is in /lib64 on some processors, in /lib on others.
func TestLinkAll(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"lib", "lib64", "usr"} {
		lab.WriteFile(t, filepath.Join(root, "image", name, "file"), name)
	}
	lab.Must(t, linkAll(root, "image"))
	for _, name := range []string{"lib", "lib64", "usr"} {
		if got := lab.ReadFile(t, filepath.Join(root, name, "file")); got != name {
			t.Errorf("/%s/file is %q", name, got)
		}
	}
	if err := linkAll(root, "image"); err == nil {
		t.Error("linkAll puts links beside files of the same name")
	}
}

// What the kubelet puts into an event must say what is missing and what to do.
func TestRefusals(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	lab.WriteFile(t, file, "x")
	for line, want := range map[string]string{
		"mkfs.xfs -f /dev/vdb":         "mkfs.xfs: kiOS makes no file systems of the type xfs: use ext4",
		"mkfs.ext4 -F":                 "the last argument is to be the path of a block device",
		"mkfs.ext4 -F " + file:         "is no block device",
		"blkid":                        "the last argument is to be",
		"fsck -a /dev/no-such-device":  "no such file",
		"losetup -a":                   "this losetup knows",
		"losetup -d":                   "this losetup knows",
		"blockdev --getss /dev/null":   "is no block device",
		"xfs_growfs -d " + file + " x": "this xfs_growfs knows",
		"xfs_growfs -d " + file:        "it is not mounted",
		"iscsiadm -m node --login":     "kiOS has no iSCSI initiator: use a CSI driver",
	} {
		args := strings.Fields(line)
		var stdout, stderr bytes.Buffer
		code := Commands[args[0]](args[1:], &stdout, &stderr)
		if code != exitFailure || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s = %d, %q, want %q", line, code, stderr.String(), want)
		}
	}
}

// The kubelet gives up without a word of iscsiadm's if this fails.
func TestISCSIInterface(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := Commands["iscsiadm"](strings.Fields("-m iface -I default -o show"), &stdout, &stderr); code != 0 || stdout.String() != "iface.transport_name = tcp\n" {
		t.Errorf("%d, %q, %q", code, stdout.String(), stderr.String())
	}
}

func TestFindLayer(t *testing.T) {
	dir := t.TempDir()
	lab.Must(t, os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755))
	lab.WriteFile(t, filepath.Join(dir, "index.json"), `{"manifests": [{"digest": "sha256:aa"}, {"digest": "sha256:bb"}]}`)
	lab.WriteFile(t, filepath.Join(dir, "blobs/sha256/aa"), `{"layers": [{"digest": "sha256:11"}]}`)
	lab.WriteFile(t, filepath.Join(dir, "blobs/sha256/bb"),
		`{"layers": [{"digest": "sha256:11"}, {"digest": "sha256:../22", "annotations": {"`+titleKey+`": "disktools"}}]}`)
	got, err := findLayer(dir, toolsLayer)
	if want := filepath.Join(dir, "blobs/sha256/22"); got != want || err != nil {
		t.Errorf("findLayer = %q, %v, want %s", got, err, want)
	}
	if _, err := findLayer(dir, "other"); err == nil || !strings.Contains(err.Error(), "has the layer other") {
		t.Errorf("findLayer of another = %v, want an error that names it", err)
	}
	lab.WriteFile(t, filepath.Join(dir, "index.json"), strings.Repeat(" ", maxJSON+1))
	if _, err := findLayer(dir, toolsLayer); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("findLayer with a large index = %v, want an error", err)
	}
}

// Devices do not share a user, nor have that of anybody else.
func TestUserOf(t *testing.T) {
	users := map[uintptr]bool{}
	for _, major := range []uint32{7, 8, 65, 253, 254, 259, 511} {
		for _, minor := range []uint32{0, 1, 16, 255, 65535, 1<<18 - 1} {
			user := userOf(unix.Mkdev(major, minor))
			if users[user] || user < 1<<30 || user >= 1<<31 {
				t.Errorf("user of %d:%d = %d", major, minor, user)
			}
			users[user] = true
		}
	}
}
