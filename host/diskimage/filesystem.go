package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kios/host/hosttool"
)

// mke2fsConf fixes the features of the data partition, which otherwise depend
// on the build machine. resize_inode lets the file system grow while mounted.
const mke2fsConf = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
[fs_types]
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
	}
`

// writeESP makes a FAT32 file system with the EFI file under the name that
// firmware looks for on every disk (UEFI 2.10, 3.5.1.1).
func writeESP(ctx context.Context, disk, efi, boot string) error {
	// Left to itself, mkfs.vfat chooses the size of clusters (-s) by the size of
	// the whole disk: from 16 GiB on there are too few of them for FAT32.
	if _, err := hosttool.Run(ctx, "mkfs.vfat", "-F", "32", "-s", "8", "-n", "KIOS-ESP", "-i", espVolumeID,
		"--offset", strconv.Itoa(espStart/sectorSize), "-h", strconv.Itoa(espStart/sectorSize), disk, strconv.Itoa(espSize/1024)); err != nil {
		return err
	}
	image := fmt.Sprintf("%s@@%d", disk, espStart)
	if _, err := hosttool.Run(ctx, "mmd", "-i", image, "::/EFI", "::/EFI/BOOT"); err != nil {
		return err
	}
	_, err := hosttool.Run(ctx, "mcopy", "-i", image, efi, "::/EFI/BOOT/"+boot)
	return err
}

// writeData makes an ext4 file system of the given size with the tree stage.
//
// The inode tables are declared to be zero, which they are in a fresh sparse
// file: otherwise either mke2fs writes them all, or the node's kernel does in
// the background of its first boot.
func writeData(ctx context.Context, disk, stage string, size int64) error {
	conf := disk + ".mke2fs.conf"
	if err := os.WriteFile(conf, []byte(mke2fsConf), 0o600); err != nil {
		return err
	}
	_, err := hosttool.Command{
		Name: "mke2fs",
		Args: []string{"-q", "-F", "-t", "ext4", "-L", dataLabel, "-m", "1", "-d", stage,
			"-E", fmt.Sprintf("offset=%d,root_owner=0:0,nodiscard,lazy_itable_init=1,lazy_journal_init=1,assume_storage_prezeroed=1", dataStart),
			disk, fmt.Sprintf("%dk", size/1024)},
		Env: []string{"MKE2FS_CONFIG=" + conf},
	}.Run(ctx)
	if err != nil {
		return err
	}
	return giveToRoot(ctx, disk, stage)
}

// giveToRoot makes root the owner of everything on the data partition.
// mke2fs takes owners from the staged tree, which is its maker's.
func giveToRoot(ctx context.Context, disk, stage string) error {
	if os.Geteuid() == 0 {
		return nil // the staged tree is root's already
	}
	var script strings.Builder
	err := filepath.WalkDir(stage, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(stage, p)
		if strings.ContainsAny(rel, "\"\n") {
			return fmt.Errorf("%s: a quote or a line break in a file's name is not supported", rel)
		}
		fmt.Fprintf(&script, "sif \"/%[1]s\" uid 0\nsif \"/%[1]s\" gid 0\n", rel)
		return err
	})
	if err != nil {
		return err
	}
	out, err := hosttool.Command{
		Name:  "debugfs",
		Args:  []string{"-w", "-f", "-", fmt.Sprintf("%s?offset=%d", disk, dataStart)},
		Stdin: script.String(),
	}.Run(ctx)
	if err != nil {
		return err
	}
	return debugfsError(out)
}

// debugfsError finds the first answer in what debugfs echoed: the commands
// used here have none unless they fail, and debugfs exits with 0 even then.
func debugfsError(out string) error {
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "debugfs") {
			return errors.New("debugfs: " + line)
		}
	}
	return nil
}
