package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/host/hosttool"
	"kios/internal/cmdline"
	"kios/internal/gpt"
)

// nameBootDisk tells the kernel of a direct boot what a boot loader would: that the
// machine boots from its first disk. A node uses a data partition only of the disk that
// it booted from, or one that is named. A disk without one, or with several, is left out,
// and so is a command line that names one itself.
func (c *Config) nameBootDisk(ctx context.Context) {
	if _, named := cmdline.Parse(c.Append).Last("datapart"); named || len(c.Disks) == 0 {
		return
	}
	table, err := readTable(ctx, c.Disks[0], c.Dir)
	if err != nil {
		return // no disk of ours; if it is no disk at all, QEMU says more
	}
	var found []gpt.Partition
	for _, p := range table.Partitions {
		if p.Type == gpt.TypeKiosData {
			found = append(found, p)
		}
	}
	if len(found) == 1 {
		c.Append = strings.TrimSpace(fmt.Sprintf("%s datapart=PARTUUID=%v", c.Append, found[0].GUID))
	}
}

// readTable reads the partition table of a disk. dir is for what is taken out of a disk
// that is not raw.
func readTable(ctx context.Context, d Disk, dir string) (*gpt.Table, error) {
	f, sectors, err := openDisk(ctx, d, dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return gpt.Read(f, sectorSize, sectors)
}

const sectorSize = 512

// openDisk opens a disk with the content that the machine sees: all of a raw one, and the
// first MiB of another one, of which the number of sectors is then 0.
func openDisk(ctx context.Context, d Disk, dir string) (f *os.File, sectors uint64, err error) {
	const head = 1 << 20
	if format := d.format(); format != "raw" {
		path := filepath.Join(dir, "disk-head.raw")
		defer os.Remove(path) // once it is open, its name is not needed
		_, err := hosttool.Run(ctx, "qemu-img", "dd", "-U", "-f", format, "-O", "raw",
			fmt.Sprintf("bs=%d", head), "count=1", "if="+d.Path, "of="+path)
		if err != nil {
			return nil, 0, err
		}
		f, err = os.Open(path)
		return f, 0, err
	}
	if f, err = os.Open(d.Path); err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd) // of a block device, too
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, uint64(size / sectorSize), nil
}

// CheckBoot says why no machine boots from a disk; that takes UEFI minutes, and it says
// less. It looks for partitions, not for what is on them. With direct, QEMU loads the
// kernel, and partitions of any kind will do. dir is for what is taken out of a disk that
// is not raw.
func (d Disk) CheckBoot(ctx context.Context, dir string, direct bool) error {
	info, err := os.Stat(d.Path)
	if err != nil {
		return err
	}
	if kind := info.Mode().Type(); kind != 0 && kind != fs.ModeDevice { // a pipe would be waited for
		return errors.New("it is neither a file nor a block device")
	}
	f, sectors, err := openDisk(ctx, d, dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return checkBoot(f, sectors, direct)
}

func checkBoot(disk io.ReaderAt, sectors uint64, direct bool) error {
	table, err := gpt.Read(disk, sectorSize, sectors)
	switch {
	case errors.Is(err, gpt.ErrNoTable) && hasOldBoot(disk):
		return nil
	case errors.Is(err, gpt.ErrNoTable):
		return errors.New("no machine boots from it, because it has no partition table: give a disk that kios image has made, raw or qcow2; qemu-img convert makes these of other formats")
	case err != nil:
		return fmt.Errorf("no machine boots from it, because its partition table is damaged (%w): make the disk again with kios image", err)
	case !direct && !slices.ContainsFunc(table.Partitions, func(p gpt.Partition) bool { return p.Type == gpt.TypeESP }):
		return errors.New("no machine boots from it, because it has no EFI system partition: give a disk that kios image has made")
	}
	return nil
}

// hasOldBoot reports whether the first sector is one of the two others by which UEFI finds
// a file system to boot from (UEFI 2.10, 5.2.1 and 13.3.1): an MBR with an EFI system
// partition, or the start of a FAT file system that has the disk to itself.
func hasOldBoot(disk io.ReaderAt) bool {
	const (
		typeESP = 0xef
		table   = 446
		entry   = 16
	)
	sector := make([]byte, sectorSize)
	if _, err := disk.ReadAt(sector, 0); err != nil || sector[510] != 0x55 || sector[511] != 0xaa {
		return false
	}
	for at := table; at < 510; at += entry {
		if sector[at+4] == typeESP {
			return true
		}
	}
	return string(sector[54:57]) == "FAT" || string(sector[82:85]) == "FAT"
}
