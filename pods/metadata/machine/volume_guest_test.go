//go:build guest

package machine

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"golang.org/x/sys/unix"

	"kios/internal/modprobe"
	"kios/pods/privilege"
	"kios/test/lab"
)

// The guest has two discs and a disk, which test/vm makes with real tools: an ISO 9660
// with the label cidata, one with a UDF beside it and the label rd_rdfe_stable, and a FAT
// with the label config-2.

func load(t *testing.T, names ...string) {
	t.Helper()
	var out strings.Builder
	for _, name := range names {
		if code := modprobe.Command([]string{name}, &out, &out); code != 0 {
			t.Fatalf("modprobe %s = %d, %s", name, code, &out)
		}
	}
}

// The volumes of a real machine are found, once their drivers are there, and read.
func TestRealVolumes(t *testing.T) {
	v := Here()
	v.Scratch = t.TempDir()
	if !v.unsettled() {
		t.Error("a CD-ROM without a driver is nothing to wait for")
	}
	time.AfterFunc(100*time.Millisecond, func() { load(t, "sr_mod") })
	v.Settle(t.Context(), func() bool { return true })
	load(t, "iso9660", "udf")
	lab.Must(t, privilege.Keep(unix.CAP_SYS_ADMIN)) // as the pod has
	volumes := v.Volumes()
	for _, c := range []struct {
		label, kind string
		optical     bool
		file, text  string
	}{
		{"cidata", "iso9660", true, "user-data", "#cloud-config\n"},
		{"rd_rdfe_stable", "iso9660", true, "ovf-env.xml", "<a/>\n"},
		{"rd_rdfe_stable", "udf", true, "ovf-env.xml", "<a/>\n"},
		{"config-2", "vfat", false, "openstack/latest/user_data", "#cloud-config\n"},
	} {
		for _, volume := range volumes {
			if volume.Label != c.label || volume.Kind != c.kind {
				continue
			}
			got, err := volume.Read(1000, c.file, "none")
			if diff := cmp.Diff(map[string][]byte{c.file: []byte(c.text)}, got); diff != "" || err != nil || volume.Optical() != c.optical {
				t.Errorf("Read of %s as %s: %v, -want +got:\n%s", volume, volume.Kind, err, diff)
			}
			c.label = ""
		}
		if c.label != "" {
			t.Errorf("Volumes = %v, want %s as %s", volumes, c.label, c.kind)
		}
	}
	if mounts := lab.ReadFile(t, "/proc/self/mounts"); strings.Contains(mounts, v.Scratch) {
		t.Errorf("a volume is still mounted:\n%s", mounts)
	}
	if left, _ := os.ReadDir(v.Scratch); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
}

// A disk that is damaged behind its label is an error that names it.
func TestDamaged(t *testing.T) {
	disk, err := os.OpenFile("/dev/vda", os.O_RDWR, 0) // which is empty
	lab.Must(t, err)
	defer disk.Close()
	b := make([]byte, 512)
	copy(b[11:], []byte{0, 2, 1, 1, 0, 2}) // nothing but a label
	copy(b[0x26:], "\x29\x00\x00\x00\x00")
	b[0x42] = 0x29
	copy(b[0x47:], "damaged    ")
	copy(b[510:], "\x55\xaa")
	_, err = disk.WriteAt(b, 0)
	lab.Must(t, err)
	defer func() { _, _ = disk.WriteAt(make([]byte, 512), 0) }()
	v := Here()
	v.Scratch = t.TempDir()
	volume, ok := Labelled(v.Volumes(), "DAMAGED")
	if !ok {
		t.Fatalf("Volumes = %v", v.Volumes())
	}
	if got, err := volume.Read(1000, "user-data"); err == nil || !strings.Contains(err.Error(), "damaged on /dev/vda") {
		t.Errorf("Read = %q, %v", got, err)
	}
}
