//go:build vm

package vm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/host/cpio"
	"kios/host/qemu"
	"kios/test/lab"
)

// tools are those that the tests of pods/disk with the tag root use, and this
// machine has.
var tools = []string{
	"losetup", "partx", "blockdev", "mount", "umount", "sgdisk", "sfdisk", "sh", "mke2fs", "e2fsck", "debugfs", "wipefs", "blkid",
	"mkntfs", "mkswap", "pvcreate", "cryptsetup",
}

const guestBound = 2 * time.Minute // on a machine with hardware virtualisation

// guestTests are those that show most of the kernel: all of them take minutes.
const guestTests = "Grow|^TestCreate$|^TestStripes(PowerCut)?$|^TestRepair$/^(corrected|not_safe|in_use)$"

// TestDisksInGuest runs the tests of pods/disk with the tag root on kiOS's kernel,
// in a machine that has nothing to lose and whose root may do everything.
// KIOS_VM_RUN chooses the tests, as go test -run does.
func TestDisksInGuest(t *testing.T) {
	kernel := lab.Kernel(t)
	accel, err := qemu.Probe(t.Context(), lab.Arch(t), kernel)
	lab.Must(t, err)
	work := t.TempDir()
	m, err := qemu.Start(t.Context(), qemu.Config{
		Kernel: kernel, Initrd: packGuest(t, work, accel), Append: "console=ttyS0 loglevel=4 panic=-1 rdinit=/init",
		Memory: 3 << 30, NoNetwork: true, NoReboot: true, Dir: work, Accel: accel,
	})
	lab.Must(t, err)
	t.Cleanup(m.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), accel.Scale(guestBound))
	defer cancel()
	end, err := m.Wait(ctx)
	said := texts(m.Lines())
	passed := slices.Contains(said, "@@ end kios/pods/disk 0")
	t.Log("\n" + strings.Join(said, "\n"))
	if err != nil || end != qemu.PoweredOff || !passed {
		t.Errorf("the guest: %s, %v, tests passed: %v", end, err, passed)
	}
}

// packGuest makes an initramfs of test/guest/gotest, the tests and their tools.
func packGuest(t *testing.T, work string, accel qemu.Accel) string {
	t.Helper()
	root := filepath.Join(work, "root")
	for _, dir := range []string{"bin", "dev", "proc", "sys", "tmp", "run", "root", "etc", "lib64", "usr/sbin", "var/lib"} {
		lab.Must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	compile(t, lab.Root(t), "build", "-o", filepath.Join(root, "init"), "./test/guest/gotest")
	compile(t, lab.Root(t), "test", "-c", "-tags", "root", "-o", filepath.Join(root, "bin/disk.test"), "./pods/disk")
	for _, name := range tools {
		copyTool(t, root, name)
	}
	list, err := json.Marshal([]map[string]string{{
		"Package": "kios/pods/disk", "Binary": "/bin/disk.test", "Dir": "/tmp",
		"Run": cmp.Or(os.Getenv("KIOS_VM_RUN"), guestTests), "Timeout": accel.Scale(guestBound).String(),
	}})
	lab.Must(t, err)
	lab.Must(t, os.WriteFile(filepath.Join(root, "tests.json"), list, 0o644))
	return writeInitrd(t, root, filepath.Join(work, "initrd"))
}

// copyTool copies a program of this machine to /bin and /usr/sbin, and its
// libraries to where they are here.
func copyTool(t *testing.T, root, name string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: apt-get install e2fsprogs util-linux fdisk gdisk ntfs-3g lvm2 cryptsetup-bin", err)
	}
	copyFile(t, path, filepath.Join(root, "usr/sbin", name))
	lab.Must(t, os.Symlink("/usr/sbin/"+name, filepath.Join(root, "bin", name)))
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		t.Fatalf("ldd %s: %v", path, err)
	}
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "/") {
			copyFile(t, word, filepath.Join(root, word))
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	lab.Must(t, err)
	lab.Must(t, os.MkdirAll(filepath.Dir(to), 0o755))
	lab.Must(t, os.WriteFile(to, data, 0o755))
}

func writeInitrd(t *testing.T, root, path string) string {
	t.Helper()
	var archive bytes.Buffer
	w := cpio.NewWriter(&archive)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		switch {
		case err != nil || name == ".":
			return err
		case e.IsDir():
			return w.Dir(name, 0o755)
		case e.Type() == fs.ModeSymlink:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return w.Symlink(name, to)
		}
		return w.FileFrom(name, 0o755, path)
	})
	if err == nil {
		err = w.CharDevice("dev/console", 0o600, 5, 1)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = os.WriteFile(path, archive.Bytes(), 0o600)
	}
	lab.Must(t, err)
	return path
}
