package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kios/init/mount"

	"golang.org/x/sys/unix"
)

// place is a directory of the data partition and where it is mounted.
type place struct {
	from, to string
	mode     fs.FileMode // to make the directory with if it is missing; 0 to make none
	flags    uintptr
	grows    bool // it is of use only if it can be written to
	why      string
}

// places is the published contract of the data partition.
var places = []place{
	{"data/var", "/var", 0o755, mount.Strict, true, "what pods keep in host paths: /opt, /srv, /mnt and the like are links into it"},
	{"meta", "/var/meta", 0o700, mount.Strict, false, "configuration; holds the changes of /etc"},
	{"meta/log", "/var/log", 0o700, mount.Strict, true, "logs"},
	{"data/lib", "/var/lib", 0o755, mount.Strict, true, "state of the kubelet, of containerd (images) and of pods with hostPath volumes"},
	{"data/pods", podsDir, 0o700, mount.NoSuid | mount.NoDev, true, "volumes of pods; an emptyDir may hold programs, so with exec"},
	{"modules", "/lib/modules", 0, mount.Strict | mount.RdOnly, false, "kernel modules"},
	{"images", images, 0, mount.Strict | mount.RdOnly, false, "the user's image archives"},
}

const podsDir = "/var/lib/kubelet/pods"

// mapData mounts every place where it belongs.
func (n *Node) mapData() {
	// On a node that moves onto a partition, mounts are shared already. What is mounted
	// in a place would appear below dataDir, too, and go with it.
	if err := unix.Mount("", dataDir, "", unix.MS_PRIVATE, ""); err != nil && n.work.data.device != "" {
		n.Log.Error("keep %s to ourselves: %v", dataDir, err)
	}
	for _, p := range places {
		if err := n.mapPlace(p); err != nil {
			n.Log.Error("%s is kept in memory: %v", p.to, err)
		}
	}
	if n.work.data.borrowed() {
		n.borrowState()
		n.borrowVar()
	}
	if n.work.data.device != "" {
		unmountData() // the mounts of its places keep it in use
	}
	n.mapImages()
	if err := n.ensurePods(); err != nil {
		n.Log.Error("programs in volumes of pods cannot run: %v", err)
	}
}

func unmountData() { unix.Unmount(dataDir, unix.MNT_DETACH) }

func (n *Node) mapPlace(p place) error {
	if n.work.data.device == "" || p.grows && !n.work.data.keeps() {
		return nil
	}
	from := filepath.Join(dataDir, p.from)
	if p.mode != 0 && n.work.data.keeps() {
		if err := makeDirs(from, p.mode); err != nil {
			return err
		}
	}
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return mount.Row{Source: from, Target: p.to, Flags: n.work.data.flags(p.flags)}.Mount()
}

// makeDirs makes dir and its parents below dataDir with one mode.
func makeDirs(dir string, mode fs.FileMode) error {
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	return err
}

// borrowState makes /var/lib out of a partition to which nothing can be added. What
// pods have there is mounted where it was, so that none takes an empty directory for
// its data. The daemons start with an empty state in memory, but the kubelet can
// read its keys.
func (n *Node) borrowState() {
	const from = dataDir + "/data/lib"
	entries, err := os.ReadDir(from)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.Log.Error("what pods have below /var/lib is out of reach: %v", err)
	}
	for _, e := range entries {
		if err := n.borrow(from, e); err != nil {
			n.Log.Error("/var/lib/%s is kept in memory: %v", e.Name(), err)
		}
	}
}

func (n *Node) borrow(from string, e fs.DirEntry) error {
	source, target := filepath.Join(from, e.Name()), filepath.Join("/var/lib", e.Name())
	switch {
	case e.Name() == "containerd" || !e.IsDir():
		return nil
	case e.Name() == "kubelet":
		return overlay(target, []string{source}, "/var/.kubelet.upper", "/var/.kubelet.work")
	}
	return mount.Row{Source: source, Target: target, Flags: n.work.data.flags(mount.Strict)}.Mount()
}

// mapImages mounts the archives that came with the initramfs if the partition
// has none. The directory exists in any case.
func (n *Node) mapImages() {
	if there, err := isMountPoint(images); err == nil && there {
		return
	}
	if err := os.MkdirAll(images, 0o755); err != nil {
		n.Log.Error("make the directory of images: %v", err)
		return
	}
	from := filepath.Join(extra, "images")
	if _, err := os.Stat(from); err != nil {
		return
	}
	row := mount.Row{Source: from, Target: images, Flags: mount.Strict | mount.RdOnly}
	if err := row.Mount(); err != nil {
		n.Log.Error("images of the initramfs are not used: %v", err)
	}
}

// ensurePods gives the volumes of pods a mount of their own if they are in
// memory: /var has noexec, and they need exec.
func (n *Node) ensurePods() error {
	if n.work.data.keeps() {
		return nil
	}
	if err := os.MkdirAll(podsDir, 0o700); err != nil {
		return err
	}
	return mount.Row{Source: podsDir, Target: podsDir, Flags: mount.NoSuid | mount.NoDev}.Mount()
}
