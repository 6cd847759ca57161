//go:build root

package machine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// insert makes an image a disk of the view, on a loop device.
func insert(t *testing.T, v View, name, image string) {
	t.Helper()
	lab.NeedRoot(t)
	loop := strings.TrimSpace(lab.Run(t, "losetup", "--read-only", "--find", "--show", image))
	t.Cleanup(func() { lab.Run(t, "losetup", "--detach", loop) })
	lab.WriteFile(t, v.Sys+"/devices/"+name+"/size", "8192\n")
	lab.Must(t, os.MkdirAll(v.Sys+"/class/block", 0o755))
	lab.Must(t, os.MkdirAll(v.Dev, 0o755))
	lab.Must(t, os.Symlink("../../devices/"+name, v.Sys+"/class/block/"+name))
	lab.Must(t, os.Symlink(loop, v.Dev+"/"+name))
}

// Devices with what real tools wrote are recognised, the discs first.
func TestDevices(t *testing.T) {
	v := view(t)
	insert(t, v, "vda", image(t, "CONFIG-2", "fat16"))
	insert(t, v, "sr0", image(t, "cidata", "both"))
	insert(t, v, "sr1", image(t, "rd_rdfe_stable", "udf-2048"))
	var got []string
	for _, volume := range v.Volumes() {
		got = append(got, volume.Kind+" "+volume.String())
	}
	want := []string{"udf cidata on /dev/sr0", "iso9660 cidata on /dev/sr0", "udf rd_rdfe_stable on /dev/sr1", "vfat CONFIG-2 on /dev/vda"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Volumes, -want +got:\n%s", diff)
	}
	if volume, ok := Labelled(v.Volumes(), "config-2"); !ok || volume.Optical() {
		t.Errorf("Labelled = %v, %v", volume, ok)
	}
}

// A mounted volume is read-only and inert, and does not stay. The kernel of every host has
// ext4; the node's reads the others in the test with the tag guest.
func TestMounted(t *testing.T) {
	v := view(t)
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "image")
	lab.WriteFile(t, dir+"/user-data", "#cloud-config\n")
	lab.Must(t, unix.Mknod(dir+"/meta-data", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))) // /dev/zero
	lab.Run(t, "mke2fs", "-q", "-t", "ext4", "-d", dir, path, "4m")
	insert(t, v, "vda", path)
	volume := Volume{Name: "vda", Kind: "ext4", Label: "cidata", view: v}
	got, err := volume.Read(1000, "user-data", "none")
	if diff := cmp.Diff(map[string][]byte{"user-data": []byte("#cloud-config\n")}, got); diff != "" || err != nil {
		t.Errorf("Read: %v, -want +got:\n%s", err, diff)
	}
	if got, err := volume.Read(1000, "meta-data"); err == nil {
		t.Errorf("Read of a device = %q", got)
	}
	volume.Kind = "xfs"
	if _, err := volume.Read(1000, "user-data"); err == nil || !strings.Contains(err.Error(), "mount cidata on /dev/vda as xfs") {
		t.Errorf("Read of a damaged disk = %v", err)
	}
	if left, _ := filepath.Glob(v.Scratch + "/volume-*"); len(left) > 0 {
		t.Errorf("%q is left behind", left)
	}
}
