//go:build vm

package vm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kios/host/cpio"
	"kios/host/debimage"
	"kios/host/qemu"
	"kios/test/lab"
	"kios/test/lab/machine"
)

// tools are what the tests of pods/disk with the tag root call, by the Debian packages that
// have them.
var tools = map[string][]string{
	"cryptsetup-bin": {"usr/sbin/cryptsetup"},
	"dash":           {"usr/bin/sh"},
	"e2fsprogs":      {"usr/sbin/debugfs", "usr/sbin/e2fsck", "usr/sbin/mke2fs"},
	"fdisk":          {"usr/sbin/sfdisk"},
	"gdisk":          {"usr/sbin/sgdisk"},
	"lvm2":           {"usr/sbin/pvcreate"},
	"mount":          {"usr/bin/mount", "usr/bin/umount", "usr/sbin/losetup"},
	"ntfs-3g":        {"usr/sbin/mkntfs"},
	"util-linux":     {"usr/bin/partx", "usr/sbin/blkid", "usr/sbin/blockdev", "usr/sbin/mkswap", "usr/sbin/wipefs"},
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
	a := lab.Arch(t)
	m, err := qemu.Start(t.Context(), qemu.Config{
		Arch: a, Kernel: kernel, Initrd: packGuest(t, work, accel), Append: commandLine(a),
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
	for _, dir := range []string{"bin", "dev", "proc", "sys", "tmp", "run", "root", "etc", "var/lib"} {
		lab.Must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	compile(t, lab.Root(t), "build", "-o", filepath.Join(root, "init"), "./test/guest/gotest")
	compile(t, lab.Root(t), "test", "-c", "-tags", "root", "-o", filepath.Join(root, "bin/disk.test"), "./pods/disk")
	copyTools(t, root)
	list, err := json.Marshal([]map[string]string{{
		"Package": "kios/pods/disk", "Binary": "/bin/disk.test", "Dir": "/tmp",
		"Run": cmp.Or(os.Getenv("KIOS_VM_RUN"), guestTests), "Timeout": accel.Scale(guestBound).String(),
	}})
	lab.Must(t, err)
	lab.Must(t, os.WriteFile(filepath.Join(root, "tests.json"), list, 0o644))
	return writeInitrd(t, root, filepath.Join(work, "initrd"))
}

// copyTools copies Debian's programs and their libraries. All are also in /bin, where the
// tests look for them.
func copyTools(t *testing.T, root string) {
	t.Helper()
	var paths []string
	for _, some := range tools {
		paths = append(paths, some...)
	}
	files, err := debimage.Collect(lab.Arch(t), machine.Debian(t, slices.Sorted(maps.Keys(tools))...), paths)
	if err != nil {
		t.Fatalf("%v (on this machine: kios deps --test)", err)
	}
	for _, f := range files {
		to := filepath.Join(root, f.Path)
		lab.Must(t, os.MkdirAll(filepath.Dir(to), 0o755))
		if f.Mode.Type() == fs.ModeSymlink {
			lab.Must(t, os.Symlink(string(f.Data), to))
			continue
		}
		data, err := os.ReadFile(f.From)
		lab.Must(t, err)
		lab.Must(t, os.WriteFile(to, data, 0o755))
	}
	for _, path := range paths {
		lab.Must(t, os.Symlink("/"+path, filepath.Join(root, "bin", filepath.Base(path))))
	}
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
