package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Ext4 is a file system of a test's own, on a loop device, whose power can be cut.
type Ext4 struct {
	Dir  string // where it is mounted
	Loop string // its device

	t     testing.TB
	image string // that the device is made of
}

// NewExt4 makes one, for the length of the test. It needs root and e2fsprogs.
func NewExt4(t testing.TB) *Ext4 {
	t.Helper()
	NeedRoot(t)
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	Must(t, errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 32<<20)))
	Run(t, "mke2fs", "-q", "-t", "ext4", image)
	d := &Ext4{Dir: filepath.Join(dir, "mnt"), t: t, image: image}
	Must(t, os.Mkdir(d.Dir, 0o755))
	d.attach()
	d.mount()
	t.Cleanup(func() {
		if err := unix.Unmount(d.Dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", d.Dir, err)
		}
	})
	return d
}

// attach makes a device of the image.
func (d *Ext4) attach() {
	d.t.Helper()
	loop := strings.TrimSpace(Run(d.t, "losetup", "--show", "--find", d.image))
	d.t.Cleanup(func() { Run(d.t, "losetup", "--detach", loop) })
	d.Loop = loop
}

func (d *Ext4) mount() {
	d.t.Helper()
	// The kernel itself writes what is old, every 5 seconds: not during a test.
	Must(d.t, unix.Mount(d.Loop, d.Dir, "ext4", 0, "commit=600"))
}

// From the kernel's fs/ext4/ext4.h.
const (
	ext4IOCShutdown     = 0x8004587d // _IOR('X', 125, __u32)
	ext4GoingNoLogFlush = 2
)

// Cut is a power cut: what has not been written to the disk is lost, as in the kernel's
// own tests of file systems. Afterwards what the disk holds is mounted again, which
// replays its journal. Nothing of it may be open. The disk is another device then: mount
// namespaces of other tests may still have the file system as it was.
func (d *Ext4) Cut() {
	d.t.Helper()
	f, err := os.Open(d.Dir)
	Must(d.t, err)
	err = unix.IoctlSetPointerInt(int(f.Fd()), ext4IOCShutdown, ext4GoingNoLogFlush)
	Must(d.t, errors.Join(err, f.Close(), unix.Unmount(d.Dir, 0)))
	after := d.image + "-after"
	Run(d.t, "cp", "--sparse=always", d.image, after)
	d.image = after
	d.attach()
	d.mount()
}
