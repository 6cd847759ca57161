package boot

import (
	"errors"
	"fmt"
	"time"

	"kios/init/mount"
	"kios/internal/datapart"
	"kios/internal/wholefile"

	"golang.org/x/sys/unix"
)

// data is the data partition, or its zero value if there is none.
type data struct {
	device   string // "" for none
	readOnly bool
	full     bool
}

// keeps reports whether what the node writes is still there after the next boot.
func (d data) keeps() bool { return d.device != "" && !d.readOnly && !d.full }

// borrowed reports whether there is a partition that can only be read.
func (d data) borrowed() bool { return d.device != "" && !d.keeps() }

// flags adds to the given flags those that every mount of the partition must have.
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

// findAndMapData finds the data partition and mounts its directories in their places.
// If anything is wrong with it, the places exist nevertheless, in memory. It
// never formats, and changes nothing on a partition that it cannot mount.
func (n *Node) findAndMapData() error {
	err := n.attachData()
	if err != nil {
		n.work.data = data{}
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
	found := data{device: device}
	if err := n.mounting.within(mountBound, found.mount, unmountData); errors.Is(err, errHangs) {
		return fmt.Errorf("mount the data partition %s: %w: check the disk and the kernel's messages", device, err)
	} else if err != nil {
		return err
	}
	n.work.data = found
	n.announceData()
	return nil
}

// mountBound is for all that is done to mount the partition, such as to replay its
// journal.
const mountBound = 2 * time.Minute

// mount mounts the partition on dataDir, and looks at it.
func (d *data) mount() error {
	if err := demandSound(d.device); err != nil {
		return err
	}
	var err error
	if d.readOnly, err = mountData(d.device); err != nil {
		return err
	}
	d.full = !d.readOnly && isFull(dataDir)
	return nil
}

// disks is where the data partition is looked for.
var disks = datapart.System{Sys: "/sys", Dev: "/dev"}

// rule returns which partition may be the data partition.
func (n *Node) rule() datapart.Rule {
	rule := datapart.RuleOf(*n.options.Load())
	rule.Boot, rule.Path = n.work.bootPartition, n.work.bootPath
	rule.DataPart = n.work.dataPart // after a move, the one that the node has moved onto
	return rule
}

func (n *Node) findData() (string, error) {
	n.readBootPartition()
	if n.work.dataPart == datapart.None {
		return "", nil
	}
	events, err := datapart.OpenUevents()
	if err != nil {
		return "", err
	}
	defer events.Close()
	system := disks
	system.Loaded = n.loadStorageDrivers()
	found, err := system.Find(n.rule(), events)
	for _, p := range found.Problems {
		n.Log.Warn("looking for the data partition: %v", p)
	}
	if err != nil {
		return "", fmt.Errorf("datapart=%s: %w", n.work.dataPart, err)
	}
	for _, p := range found.Ignored {
		n.sayIgnored(p, found.Device)
	}
	return found.Device, nil
}

// sayIgnored names a partition that a user may have meant, if the node has none else.
func (n *Node) sayIgnored(p datapart.Partition, device string) {
	log := n.Log.Info
	if device == "" {
		log = n.Log.Warn
	}
	log("%s has the type of a data partition and is not used, as the machine did not boot from its disk: to use it, give datapart=PARTUUID=%v on the kernel command line", p, p.GUID)
}

// bootPartitionFile tells the pod disk from which partition the machine booted: a pod
// does not see the firmware's variables.
const bootPartitionFile = "/run/kios/boot-partition"

// readBootPartition finds out from which disk the machine booted.
func (n *Node) readBootPartition() {
	guid, err := datapart.BootPartition(datapart.EFIVars)
	if err != nil {
		n.Log.Warn("the disk that the machine booted from is not known: %v", err)
	}
	n.work.bootPartition = guid
	if n.work.bootPath, err = datapart.ReadBootPath(datapart.EFIVars); err != nil {
		n.Log.Info("firmware does not say which device it booted from: %v", err)
	}
	if err := wholefile.Volatile(bootPartitionFile, []byte(guid.String()+"\n"), 0o444); err != nil {
		n.Log.Warn("tell the pod disk from which partition the machine booted: %v", err)
	}
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

// isFull reports whether so little is free that the daemons could not start, since
// they write their state then.
func isFull(dir string) bool { return !hasRoom(dir, 0, 0) }

// hasRoom reports whether a file system takes so much more without being full.
func hasRoom(dir string, bytes, files uint64) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return true
	}
	size := uint64(st.Bsize)
	blocks := (bytes + size - 1) / size
	return blocks <= st.Bfree && (st.Files == 0 || files <= st.Ffree) &&
		!tooFull(size, st.Blocks, st.Bfree-blocks, st.Files, st.Ffree-files)
}

// tooFull judges the numbers of statfs(2). The start of a node with a few pods writes
// 32 MiB. A small file system may have less free even when it is empty.
func tooFull(blockSize, blocks, free, inodes, freeInodes uint64) bool {
	enough := min(32<<20, blocks*blockSize/20)
	return free*blockSize < enough || inodes > 0 && freeInodes < 256
}

func (n *Node) announceData() {
	switch {
	case n.work.data.readOnly:
		n.Log.Error("the data partition %s is read-only: its configuration and what pods have on it are used, all that is new is kept in memory and lost with power; make the disk writable and restart", n.work.data.device)
	case n.work.data.full:
		n.Log.Error("the data partition %s is full: its configuration and what pods have on it are used, all that is new is kept in memory and lost with power; free space on it and restart", n.work.data.device)
	default:
		n.Log.Notice("data partition %s", n.work.data.device)
	}
}
