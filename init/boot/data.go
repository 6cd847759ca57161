package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kios/init/machine"
	"kios/init/mount"
	"kios/internal/datapart"

	"golang.org/x/sys/unix"
)

// data is the data partition, as far as there is one.
type data struct {
	device   string // "" for none
	readOnly bool
	full     bool
}

// keeps reports whether what the node writes is there after a boot.
func (d data) keeps() bool { return d.device != "" && !d.readOnly && !d.full }

// borrowed reports whether there is a partition that is of use only for what is
// on it already.
func (d data) borrowed() bool { return d.device != "" && !d.keeps() }

// flags returns what a mount of the partition has beside the given flags.
func (d data) flags(flags uintptr) uintptr {
	if d.readOnly {
		flags |= mount.RdOnly
	}
	return flags
}

const (
	dataDir = "/run/kios/data"  // where the partition is mounted while it is mapped
	extra   = "/run/kios/extra" // what came with the initramfs for this boot
	images  = "/run/kios/images"
	etcWork = "/var/meta/.etc.work"
	etcDir  = "/var/meta/etc"
)

// place is a directory of the data partition and where it appears.
type place struct {
	from, to string
	mode     fs.FileMode // of the directory, if it is missing; 0 to leave it out then
	flags    uintptr
	grows    bool // it is of no use if nothing can be written
	why      string
}

// places is the published contract of the data partition.
var places = []place{
	{"meta", "/var/meta", 0o700, mount.Strict, false, "configuration; holds the changes of /etc"},
	{"meta/log", "/var/log", 0o700, mount.Strict, true, "logs"},
	{"data/lib", "/var/lib", 0o755, mount.Strict, true, "state of the kubelet, of containerd (images) and of pods with hostPath volumes"},
	{"data/pods", podsDir, 0o700, mount.NoSuid | mount.NoDev, true, "volumes of pods; an emptyDir may hold programs, so with exec"},
	{"modules", "/lib/modules", 0, mount.Strict | mount.RdOnly, false, "kernel modules"},
	{"images", images, 0, mount.Strict | mount.RdOnly, false, "image archives of the user's"},
}

const podsDir = "/var/lib/kubelet/pods"

// findAndMapData finds the data partition and puts its directories in their places.
// Whatever is wrong with it, the places exist afterwards, in memory then. It
// never formats, and changes nothing on a partition that it cannot mount.
func (n *Node) findAndMapData() error {
	err := n.attachData()
	if err != nil {
		n.data = data{}
		err = fmt.Errorf("%w; this boot keeps everything in memory", err)
	}
	n.mapData()
	return err
}

// attachData finds the partition and mounts it on dataDir.
func (n *Node) attachData() error {
	device, err := n.findData()
	if err == nil && device == "" {
		n.Log.Notice("no data partition: everything is kept in memory")
	}
	if err != nil || device == "" {
		return err
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return err
	}
	n.data.device = device
	if err := demandSound(device); err != nil {
		return err
	}
	if n.data.readOnly, err = mountExt4(device, dataDir); err != nil {
		return err
	}
	n.data.full = !n.data.readOnly && isFull(dataDir)
	n.announceData()
	return nil
}

func (n *Node) findData() (string, error) {
	if n.options.DataPart == "none" {
		return "", nil
	}
	events, err := datapart.OpenUevents()
	if err != nil {
		return "", err
	}
	defer events.Close()
	system := datapart.System{Sys: "/sys", Dev: "/dev"}
	if n.options.DataPart != "auto" {
		if err := system.Device(n.options.DataPart, events); err != nil {
			return "", fmt.Errorf("datapart=%s: %w", n.options.DataPart, err)
		}
		return n.options.DataPart, nil
	}
	devices, problems := system.Auto(events)
	for _, p := range problems {
		n.Log.Warn("looking for the data partition: %v", p)
	}
	if len(devices) == 0 {
		return "", nil
	}
	if len(devices) > 1 {
		n.Log.Warn("%s is used as data partition, not %s; choose with datapart=/dev/... on the kernel command line",
			devices[0], strings.Join(devices[1:], " or "))
	}
	return devices[0], nil
}

// mountExt4 mounts a device, read-only if it cannot be written to, and without
// replaying its journal if even that needs writing.
func mountExt4(device, target string) (readOnly bool, err error) {
	err = unix.Mount(device, target, "ext4", mount.Strict, "errors=remount-ro")
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
		readOnly = true
		err = unix.Mount(device, target, "ext4", mount.Strict|mount.RdOnly, "")
		if err != nil {
			err = unix.Mount(device, target, "ext4", mount.Strict|mount.RdOnly, "noload")
		}
	}
	switch {
	case err == nil:
		return readOnly, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EUCLEAN), errors.Is(err, unix.EFSBADCRC):
		return false, fmt.Errorf("the data partition %s holds no sound ext4 file system (%w) and was left untouched: the pod disk tries to repair it; if it cannot, do so from another system with e2fsck, or make a new one with mkfs.ext4", device, err)
	}
	return false, fmt.Errorf("mount the data partition %s: %w: check the disk and the kernel's messages", device, err)
}

// isFull reports whether so little is free that the daemons could not start:
// they write their state when they do.
func isFull(dir string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false
	}
	return tooFull(uint64(st.Bsize), st.Blocks, st.Bfree, st.Files, st.Ffree)
}

// tooFull takes what statfs(2) tells. 32 MiB are what the start of a node with
// a few pods writes; a small file system may be as empty as it gets with less.
func tooFull(blockSize, blocks, free, inodes, freeInodes uint64) bool {
	enough := min(32<<20, blocks*blockSize/20)
	return free*blockSize < enough || inodes > 0 && freeInodes < 256
}

func (n *Node) announceData() {
	switch {
	case n.data.readOnly:
		n.Log.Error("the data partition %s is read-only: its configuration and what pods have on it are used, all that is new is kept in memory and lost with power; make the disk writable and restart", n.data.device)
	case n.data.full:
		n.Log.Error("the data partition %s is full: its configuration and what pods have on it are used, all that is new is kept in memory and lost with power; free space on it and restart", n.data.device)
	default:
		n.Log.Notice("data partition %s", n.data.device)
	}
}

// mapData puts every place where it belongs.
func (n *Node) mapData() {
	for _, p := range places {
		if err := n.mapPlace(p); err != nil {
			n.Log.Error("%s is kept in memory: %v", p.to, err)
		}
	}
	if n.data.borrowed() {
		n.borrowState()
	}
	if n.data.device != "" {
		// All its places hold it; the rest of it is nobody's business here.
		unmountData()
	}
	n.mapImages()
	if err := n.ensurePods(); err != nil {
		n.Log.Error("programs in volumes of pods cannot run: %v", err)
	}
}

func unmountData() { unix.Unmount(dataDir, unix.MNT_DETACH) }

func (n *Node) mapPlace(p place) error {
	if n.data.device == "" || p.grows && !n.data.keeps() {
		return nil
	}
	from := filepath.Join(dataDir, p.from)
	if p.mode != 0 && n.data.keeps() {
		if err := makeDirs(from, p.mode); err != nil {
			return err
		}
	}
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return mount.Row{Source: from, Target: p.to, Flags: n.data.flags(p.flags)}.Mount()
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

// borrowState makes /var/lib of a partition on which nothing can be added. What
// pods have there appears where it was, so that none takes an empty directory
// for its data. The daemons start anew in memory, but the kubelet still reads
// its keys.
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
	return mount.Row{Source: source, Target: target, Flags: n.data.flags(mount.Strict)}.Mount()
}

// mapImages takes the archives that came with the initramfs if the partition
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

// ensurePods gives the volumes of pods a mount of their own when they are in
// memory: /var has noexec, and they need exec.
func (n *Node) ensurePods() error {
	if n.data.keeps() {
		return nil
	}
	if err := os.MkdirAll(podsDir, 0o700); err != nil {
		return err
	}
	return mount.Row{Source: podsDir, Target: podsDir, Flags: mount.NoSuid | mount.NoDev}.Mount()
}

// mountEtc makes /etc writable: an overlay of the root's /etc, what came with
// the initramfs, and the changes, which are kept on the data partition.
func (n *Node) mountEtc() error {
	lower := []string{"/etc"}
	if n.memory < machine.FullMemory {
		lower = append(n.withoutExtras(), lower...)
	}
	if _, err := os.Stat(extra + "/etc"); err == nil {
		lower = append([]string{extra + "/etc"}, lower...)
	}
	if !n.data.borrowed() {
		err := overlay("/etc", lower, etcDir, etcWork)
		if err == nil {
			return n.completeEtc()
		}
		n.Log.Error("changes of /etc are kept in memory and lost with power: %v", err)
	}
	// What was changed in earlier boots counts all the same.
	if _, err := os.Stat(etcDir); err == nil {
		lower = append([]string{etcDir}, lower...)
	}
	if err := overlay("/etc", lower, "/run/kios/etc.upper", "/run/kios/etc.work"); err != nil {
		return err
	}
	return n.completeEtc()
}

// extras are the system pods that a node runs without.
var extras = []string{"disk", "modules", "node", "time"}

// withoutExtras returns a layer for /etc that takes the manifests of the extras
// away. A user's file of the same name still brings one back.
func (n *Node) withoutExtras() []string {
	const layer = "/run/kios/small"
	manifests := layer + "/kubernetes/manifests"
	err := os.MkdirAll(manifests, 0o755)
	for _, pod := range extras {
		err = errors.Join(err, os.WriteFile(filepath.Join(manifests, pod+".yaml"), nil, 0o644))
	}
	if err != nil {
		n.Log.Warn("this machine is small, and the system pods cannot be left out: %v", err)
		return nil
	}
	n.Log.Warn("this machine has %d MB of memory: the system pods %s are left out (%d MB are enough for them)",
		n.memory>>20, strings.Join(extras, ", "), machine.FullMemory>>20)
	return []string{layer}
}

// overlay puts what is written to target into upper, above the lower layers.
func overlay(target string, lower []string, upper, work string) error {
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return mount.Row{Target: target, Type: "overlay", Source: "overlay", Flags: mount.Strict,
		Data: []string{fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(lower, ":"), upper, work)}}.Mount()
}

// completeEtc adds what the kubelet cannot do without and a user may have
// removed, and the place of seccomp profiles.
func (n *Node) completeEtc() error {
	// A missing directory costs the kubelet a second; pods that share the
	// host's DNS settings do not start without the file.
	if err := os.MkdirAll("/etc/kubernetes/manifests", 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile("/etc/resolv.conf", os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	f.Close()
	if _, err := os.Stat("/etc/seccomp"); err != nil {
		return nil
	}
	return mount.Row{Source: "/etc/seccomp", Target: "/var/lib/kubelet/seccomp", Flags: mount.Strict | mount.RdOnly, Mode: 0o700}.Mount()
}
