package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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

// readTable reads the partition table at the beginning of a disk. dir is for what is
// taken out of a disk that is not raw.
func readTable(ctx context.Context, d Disk, dir string) (*gpt.Table, error) {
	const head = 1 << 20
	path := d.Path
	if format := d.format(); format != "raw" {
		path = filepath.Join(dir, "disk-head.raw")
		defer os.Remove(path)
		_, err := hosttool.Run(ctx, "qemu-img", "dd", "-U", "-f", format, "-O", "raw",
			fmt.Sprintf("bs=%d", head), "count=1", "if="+d.Path, "of="+path)
		if err != nil {
			return nil, err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return gpt.Read(f, 512, 0)
}
