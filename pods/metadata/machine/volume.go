package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Volume is a file system on a disk, a partition or a disc of the machine.
type Volume struct {
	Name  string // of the device: sr0, vdb1
	Kind  string // iso9660, udf or vfat
	Label string
	view  View
}

// Optical reports whether the volume is on a CD-ROM. Nothing on the machine can have
// written that.
func (v Volume) Optical() bool { return strings.HasPrefix(v.Name, "sr") }

// String names the volume for people.
func (v Volume) String() string { return fmt.Sprintf("%s on /dev/%s", v.Label, v.Name) }

const maxDevices = 1024

// Volumes returns the volumes with file systems of those kinds that clouds give data on,
// discs first. Those that the machine can make itself (loop devices, memory, volumes of
// LVM) and those from a network are left out: what is on them comes from pods.
func (v View) Volumes() []Volume {
	var found []Volume
	for _, name := range slices.Sorted(maps.Keys(v.blocks())) {
		found = append(found, v.probe(name)...)
	}
	slices.SortStableFunc(found, func(a, b Volume) int { return cmp.Compare(rank(a), rank(b)) })
	return found
}

func rank(v Volume) int {
	if v.Optical() {
		return 0
	}
	return 1
}

// isHardware reports whether a device with a size is part of the machine, by its place in
// the kernel's tree of devices.
func (v View) isHardware(name string) bool {
	place, err := filepath.EvalSymlinks(filepath.Join(v.Sys, "class/block", name))
	if err != nil {
		return false
	}
	for _, made := range []string{"/virtual/block/", "/nvme-fabrics/", "/session", "/rbd/", "/zram"} {
		if strings.Contains(place, made) {
			return false
		}
	}
	if subsystem, ok := nvmeSubsystem(place); ok && !local(subsystem) {
		return false
	}
	size := v.field("class/block/" + name + "/size")
	return size != "" && size != "0" && !strings.HasPrefix(name, "fd") // an empty floppy drive is slow to say so
}

// nvmeSubsystem returns the directory in which the kernel gathers the ways to a disk, if
// place is in one. It has some for all of NVMe.
func nvmeSubsystem(place string) (dir string, ok bool) {
	before, after, ok := strings.Cut(place, "/nvme-subsystem/")
	name, _, _ := strings.Cut(after, "/")
	return filepath.Join(before, "nvme-subsystem", name), ok
}

// local reports whether none of the ways to a disk is a network.
func local(subsystem string) bool {
	transports, _ := filepath.Glob(filepath.Join(subsystem, "nvme*", "transport"))
	return !slices.ContainsFunc(transports, func(path string) bool {
		text, _ := readFile(path, maxField)
		return strings.TrimSpace(string(text)) != "pcie"
	})
}

func (v View) probe(name string) []Volume {
	f, err := os.Open(filepath.Join(v.Dev, name))
	if err != nil { // an empty drive
		return nil
	}
	defer f.Close()
	var found []Volume
	for _, fs := range identify(f) {
		found = append(found, Volume{Name: name, Kind: fs.kind, Label: fs.label, view: v})
	}
	return found
}

// Labelled returns the first of the volumes with one of the labels, in upper or lower
// case.
func Labelled(volumes []Volume, labels ...string) (Volume, bool) {
	for _, v := range volumes {
		if slices.ContainsFunc(labels, func(l string) bool { return strings.EqualFold(l, v.Label) }) {
			return v, true
		}
	}
	return Volume{}, false
}

// options have files belong to whoever reads them. Those on a disc may be for the owner
// alone, whoever that was where it was made, and the pod has no right to pass over that.
var options = map[string]string{
	"iso9660": "overriderockperm,mode=0444,dmode=0555",
	"udf":     "mode=0444,dmode=0555",
}

// Read returns the files of the volume with these names, as far as there are any, each
// of at most limit bytes. It takes CAP_SYS_ADMIN, because it mounts the volume.
func (v Volume) Read(limit int64, names ...string) (files map[string][]byte, err error) {
	dir, err := os.MkdirTemp(v.view.Scratch, "volume-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(dir)
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount(filepath.Join(v.view.Dev, v.Name), dir, v.Kind, flags, options[v.Kind]); err != nil {
		return nil, fmt.Errorf("mount %s as %s: %w", v, v.Kind, err)
	}
	defer func() {
		err = errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	}()
	if files, err = readFiles(dir, limit, names); err != nil {
		return nil, fmt.Errorf("read %s: %w", v, err)
	}
	return files, nil
}

func readFiles(dir string, limit int64, names []string) (map[string][]byte, error) {
	root, err := os.OpenRoot(dir) // links do not lead out of it
	if err != nil {
		return nil, err
	}
	defer root.Close()
	files := map[string][]byte{}
	for _, name := range names {
		text, err := readRegular(root, name, limit)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		case err != nil:
			return nil, err
		default:
			files[name] = text
		}
	}
	return files, nil
}

func readRegular(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO would wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, and at most %d are read: make it smaller", name, info.Size(), limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

const (
	settleBound = 15 * time.Second
	settlePause = 200 * time.Millisecond
)

// Quiet is the View's on a real machine: disks on USB, and slow ones on SCSI, come some time
// after their driver.
const Quiet = 2 * time.Second

// Settle waits until the drivers of controllers and disks are there, which the pod modules
// loads at the same time, and has look look for a volume. Until that finds one, it looks
// again after each block device that comes, and ends when none has come for v.Quiet. All
// of this is bounded: a controller that no driver is for never has one.
func (v View) Settle(ctx context.Context, look func() bool) {
	ctx, cancel := context.WithTimeout(ctx, settleBound)
	defer cancel()
	for v.unsettled() && pause(ctx) {
	}
	for {
		before := v.blocks() // before the look, so that it misses none
		if look() || !v.grows(ctx, before) {
			return
		}
	}
}

// pause reports whether there is time left.
func pause(ctx context.Context) bool {
	select {
	case <-time.After(settlePause):
		return true
	case <-ctx.Done():
		return false
	}
}

// grows reports whether a block device comes within v.Quiet.
func (v View) grows(ctx context.Context, before map[string]bool) bool {
	ctx, cancel := context.WithTimeout(ctx, v.Quiet)
	defer cancel()
	for {
		for name := range v.blocks() {
			if !before[name] {
				return true
			}
		}
		if !pause(ctx) {
			return false
		}
	}
}

// blocks returns the block devices of the machine's hardware.
func (v View) blocks() map[string]bool {
	entries, _ := os.ReadDir(filepath.Join(v.Sys, "class/block"))
	names := map[string]bool{}
	for _, e := range entries[:min(len(entries), maxDevices)] {
		if name := e.Name(); v.isHardware(name) {
			names[name] = true
		}
	}
	return names
}

// unsettled reports whether there is a storage controller without a driver, or a disk or
// CD-ROM that is no block device yet.
func (v View) unsettled() bool {
	return v.lacks("bus/pci/devices", "class", []string{"0x01"}, "driver") ||
		v.lacks("bus/scsi/devices", "type", []string{"0", "5"}, "block")
}

// lacks reports whether one of the devices, whose file begins with one of the values, has
// no such entry.
func (v View) lacks(devices, file string, values []string, entry string) bool {
	entries, _ := os.ReadDir(filepath.Join(v.Sys, devices))
	for _, e := range entries {
		device := filepath.Join(devices, e.Name())
		kind := v.field(filepath.Join(device, file))
		if !slices.ContainsFunc(values, func(want string) bool { return kind != "" && strings.HasPrefix(kind, want) }) {
			continue
		}
		if _, err := os.Stat(filepath.Join(v.Sys, device, entry)); err != nil {
			return true
		}
	}
	return false
}
