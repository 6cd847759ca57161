package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// device is a disk or a partition as sysfs shows it (in the kernel's
// Documentation/ABI/stable/sysfs-block).
type device struct {
	name       string // of the kernel: vda, nvme0n1p2
	dir        string // in sysfs
	number     int    // of a partition in the table; 0 for a disk
	disk       string // name of the disk that it is or is on
	start      int64  // bytes; of a partition on its disk
	size       int64  // bytes
	sectorSize int64  // bytes
}

// node is the device's name for people and for PID 1.
func (d *device) node() string { return "/dev/" + d.name }

// host returns where a path in the node's /dev is for this process.
func (s *Service) host(node string) string {
	return filepath.Join(s.Dev, strings.TrimPrefix(node, "/dev/"))
}

// mounted returns the device of the ext4 that the directory Data is on, or nil
// if that is memory.
func (s *Service) mounted() (*device, error) {
	var st unix.Stat_t
	err := unix.Stat(s.Data, &st)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", s.Data, err)
	}
	var fsInfo unix.Statfs_t
	if err := unix.Statfs(s.Data, &fsInfo); err != nil {
		return nil, fmt.Errorf("statfs %s: %w", s.Data, err)
	}
	if fsInfo.Type != unix.EXT4_SUPER_MAGIC || unix.Major(st.Dev) == 0 {
		return nil, nil
	}
	return s.lookUp(fmt.Sprintf("dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
}

// block returns the device with the given name in /dev.
func (s *Service) block(node string) (*device, error) {
	return s.lookUp("class/block/" + strings.TrimPrefix(node, "/dev/"))
}

// lookUp reads what sysfs has at a path, a link to the device's directory.
func (s *Service) lookUp(path string) (*device, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(s.Sys, path))
	if err != nil {
		return nil, fmt.Errorf("look up a block device: %w", err)
	}
	d := &device{name: filepath.Base(dir), dir: dir, disk: filepath.Base(dir)}
	diskDir := dir
	if n, err := readNumber(filepath.Join(dir, "partition")); err == nil {
		diskDir = filepath.Dir(dir)
		d.number, d.disk = int(n), filepath.Base(diskDir)
		if d.start, err = readNumber(filepath.Join(dir, "start")); err != nil {
			return nil, err
		}
	}
	sectors, err := readNumber(filepath.Join(dir, "size"))
	if err != nil {
		return nil, err
	}
	// Both in units of 512 bytes, whatever the disk's sectors are.
	d.start, d.size = d.start*512, sectors*512
	d.sectorSize, err = readNumber(filepath.Join(diskDir, "queue/logical_block_size"))
	return d, err
}

func readNumber(path string) (int64, error) {
	text := readText(path)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %q is not a number", path, text)
	}
	return n, nil
}

// readText returns what a file of sysfs says, or "" if there is none.
func readText(path string) string {
	text, _ := os.ReadFile(path)
	return strings.Trim(strings.TrimSpace(string(text)), "\x00")
}

// serial returns what the disk's maker or the hypervisor wrote on it.
func (d *device) serial() string {
	for _, file := range []string{"serial", "device/serial"} { // virtio, NVMe and MMC
		if text := readText(filepath.Join(d.dir, file)); text != "" {
			return text
		}
	}
	page, _ := os.ReadFile(filepath.Join(d.dir, "device/vpd_pg80")) // SCSI: unit serial number
	if len(page) < 4 {
		return ""
	}
	return strings.TrimSpace(string(page[4:]))
}

// users returns the devices that are made of this disk or its partitions.
func (d *device) users() []string {
	var names []string
	for _, pattern := range []string{"holders/*", d.name + "*/holders/*"} {
		found, _ := filepath.Glob(filepath.Join(d.dir, pattern))
		for _, path := range found {
			names = append(names, filepath.Base(path))
		}
	}
	return names
}

// partitions returns the numbers of the partitions that the kernel knows.
func (d *device) partitions() []int {
	var numbers []int
	found, _ := filepath.Glob(filepath.Join(d.dir, d.name+"*", "partition"))
	for _, path := range found {
		if n, err := readNumber(path); err == nil {
			numbers = append(numbers, int(n))
		}
	}
	return numbers
}

// partition returns the kernel's name in /dev of one of the disk's partitions.
func (d *device) partition(number int) string {
	name := d.name
	if last := name[len(name)-1]; '0' <= last && last <= '9' {
		name += "p"
	}
	return "/dev/" + name + strconv.Itoa(number)
}

// open opens a device as its only user: the kernel refuses if it, or a part of
// it, is mounted, is swap space or belongs to a volume.
func (s *Service) open(d *device, flags int) (*os.File, error) {
	f, err := os.OpenFile(s.host(d.node()), flags|unix.O_EXCL, 0)
	if !errors.Is(err, unix.EBUSY) {
		return f, err
	}
	if users := d.users(); len(users) > 0 {
		return nil, fmt.Errorf("it is in use by %s", strings.Join(users, ", "))
	}
	return nil, errors.New("it is in use (mounted, or swap space)")
}
