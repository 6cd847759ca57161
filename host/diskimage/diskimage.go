// Package diskimage makes disk images that a kiOS node boots from: a GPT with an
// EFI system partition that holds kios.efi, and a data partition that holds
// what the user brings, unless there is to be none. How the node mounts that one
// is in internal/datapart.
//
// It writes image files only, with mkfs.vfat, mtools and mke2fs working at an
// offset, so it needs neither root nor loop devices nor mounts. Writing to real
// disks is left to dd and the like.
package diskimage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/hosttool"
	"kios/host/uki"
	"kios/internal/gpt"
)

const (
	sectorSize = 512
	mib        = 1 << 20
	gib        = 1 << 30
	espStart   = 1 * mib
	espSize    = 512 * mib // room for two more kernels
	dataStart  = espStart + espSize
	dataMin    = 64 * mib // below this ext4 is mostly overhead
	tableSize  = 1 * mib  // the backup table's, rounded to the alignment

	espVolumeID = "6b694f53" // "kiOS"
	dataLabel   = "KIOS-DATA"
)

// Options say what goes onto a disk.
type Options struct {
	EFI    string          // kios.efi
	Arch   arch.Arch       // that it must be for; Check sets that of the file if it has no name
	Etc    string          // directory whose contents are laid over the node's /etc; "" for none
	OCI    []string        // OCI or docker archives to import at boot
	Extra  map[string]File // more files, by path below the root of the data partition
	NoData bool            // make no data partition: the node has it on another disk, or keeps all in memory
	Size   int64           // bytes of the whole disk; 0 for DefaultSize, or DefaultSizeNoData
	Format string          // "raw", "qcow2", "ami-raw", or "" for raw
	Out    string          // file to write
	Force  bool            // replace Out if it is a regular file

	Note func(text string) // is told what a node will miss; nil for nobody
}

// DefaultSize is a disk's size in bytes if Options has none. The file is
// sparse: it takes what is written.
const (
	DefaultSize       = 4 << 30
	DefaultSizeNoData = 1 << 30 // nothing on such a disk grows
)

// File is a small file to put onto the data partition.
type File struct {
	Mode fs.FileMode
	Data []byte
}

// Create makes a disk image. The file appears under its name when it is
// complete.
func Create(ctx context.Context, o Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	work, remove, err := cache.ScratchIn(filepath.Dir(o.Out), ".kios-image-")
	if err != nil {
		return fmt.Errorf("make disk image %s: %w", o.Out, err)
	}
	defer remove()
	err = o.make(ctx, work)
	if full := hosttool.FullDisk(work); err != nil && full != nil {
		err = fmt.Errorf("%w (%w)", full, err)
	}
	if err != nil {
		return fmt.Errorf("make disk image %s: %w", o.Out, err)
	}
	return nil
}

// make makes the image in the directory work, and moves it to its place.
func (o *Options) make(ctx context.Context, work string) error {
	stage, raw := filepath.Join(work, "data"), filepath.Join(work, "raw")
	if !o.NoData {
		if err := o.stage(ctx, stage); err != nil {
			return err
		}
	}
	if err := o.write(ctx, raw, stage); err != nil {
		return err
	}
	return o.finish(ctx, raw)
}

// Check sets defaults and finds what is wrong with the names of files and the format,
// before anything is written.
func (o *Options) Check() error {
	if o.Size == 0 {
		o.Size = DefaultSize
		if o.NoData {
			o.Size = DefaultSizeNoData
		}
	}
	switch o.Format {
	case "":
		o.Format = "raw"
	case "raw", "qcow2":
	case "ami-raw":
		// Volumes of EBS have whole GiB. On a larger one than the disk, its backup table
		// would not be at the end.
		if o.Size%gib != 0 {
			return fmt.Errorf("a size of %s is no whole number of GiB, which an AMI needs: use %s", FormatSize(o.Size), FormatSize(o.Size/gib*gib+gib))
		}
	default:
		return fmt.Errorf("disk format %q is not known: use raw, qcow2 or ami-raw", o.Format)
	}
	// Less than a MiB stays what it is: rounded, it would be 0, which is the default.
	if o.Size >= mib {
		o.Size -= o.Size % mib
	}
	if err := errors.Join(o.checkOut(), o.checkInputs(), o.checkData()); err != nil {
		return err
	}
	return o.checkEFI()
}

// ErrNoPlace is about files for an image that has no data partition.
var ErrNoPlace = errors.New("files of --etc, --oci and --join would be on the data partition, which --no-data-partition leaves out: leave out one or the other")

// checkData demands a place for what the user brings.
func (o *Options) checkData() error {
	if o.NoData && (o.Etc != "" || len(o.OCI)+len(o.Extra) > 0) {
		return ErrNoPlace
	}
	return nil
}

// checkPlace looks for the directory of a new image.
func (o *Options) checkPlace() error {
	if info, err := os.Stat(filepath.Dir(o.Out)); err != nil || !info.IsDir() {
		return fmt.Errorf("there is no directory %s for the disk image", filepath.Dir(o.Out))
	}
	return nil
}

// checkInputs demands files and directories, since a named pipe would be waited for,
// and refuses to write the image over what it is made of, or among it.
func (o *Options) checkInputs() error {
	inputs := slices.DeleteFunc(append([]string{o.EFI, o.Etc}, o.OCI...), func(name string) bool { return name == "" })
	for _, input := range inputs {
		info, err := os.Stat(input)
		switch {
		case errors.Is(err, fs.ErrNotExist) && input == o.EFI:
			return fmt.Errorf("EFI file %s does not exist; make it with kios build%s, or give another one with --efi", o.EFI, o.Arch.Flag())
		case err != nil:
			return err
		case !info.IsDir() && !info.Mode().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory", input)
		case within(o.Out, info):
			return fmt.Errorf("the image would be made of %s and be written to %s: write it to another place", input, o.Out)
		}
	}
	return nil
}

// within reports whether a path is a file or directory, or lies below it.
func within(path string, input fs.FileInfo) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	for {
		// A link's directory is not the one that it leads to.
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		if info, err := os.Stat(path); err == nil && os.SameFile(info, input) {
			return true
		}
		parent := filepath.Dir(path)
		if parent == path {
			return false
		}
		path = parent
	}
}

func (o *Options) checkOut() error {
	info, err := os.Lstat(o.Out)
	switch {
	case o.Out == "":
		return errors.New("no file to write the disk image to")
	case errors.Is(err, fs.ErrNotExist):
		return o.checkPlace()
	case err != nil:
		return fmt.Errorf("make disk image: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s exists and is not a regular file: write the image to a new file, and copy that to a disk with dd", o.Out)
	case !o.Force:
		return fmt.Errorf("%s already exists: remove it, or replace it with --force", o.Out)
	}
	return nil
}

// checkEFI demands an EFI file that is whole and has room.
func (o *Options) checkEFI() error {
	image, f, err := uki.Read(o.EFI)
	if err != nil {
		return fmt.Errorf("%w; make one with kios build%s, or give another one with --efi", err, o.Arch.Flag())
	}
	defer f.Close()
	if image.Size > espSize-16*mib {
		return fmt.Errorf("EFI file %s is too large: it has %s, and the EFI system partition has %s", o.EFI, FormatSize(image.Size), FormatSize(espSize))
	}
	return o.checkArch(image)
}

// checkArch takes the architecture from the EFI file, and refuses another one.
func (o *Options) checkArch(image *uki.Image) error {
	a, err := arch.OfMachine(image.Machine)
	switch {
	case err != nil:
		return fmt.Errorf("EFI file %s is for no machine that kiOS runs on: %w", o.EFI, err)
	case o.Arch.Name != "" && o.Arch.Name != a.Name:
		return fmt.Errorf("EFI file %s is for %s, and not for %s: give another file with --efi, or leave --arch out", o.EFI, a.Name, o.Arch.Name)
	}
	o.Arch = a
	return nil
}

// write writes the disk to the new file raw.
func (o *Options) write(ctx context.Context, raw, stage string) error {
	if err := o.checkRoom(stage); err != nil {
		return err
	}
	f, err := os.OpenFile(raw, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(o.Size); err != nil {
		return err
	}
	if err := writeESP(ctx, raw, o.EFI, o.Arch.EFI.Boot); err != nil {
		return fmt.Errorf("make EFI system partition: %w", err)
	}
	if !o.NoData {
		if err := writeData(ctx, raw, stage, o.dataSize()); err != nil {
			return fmt.Errorf("make data partition: %w", err)
		}
	}
	// Last: the programs above would ask whether to overwrite a table.
	if err := gpt.Write(f, o.table()); err != nil {
		return err
	}
	return f.Close()
}

func (o *Options) dataSize() int64 { return o.Size - dataStart - tableSize }

// checkRoom demands a disk that is large enough.
func (o *Options) checkRoom(stage string) error {
	var least int64 = dataStart + tableSize
	if !o.NoData {
		room, err := dataRoom(stage)
		if err != nil {
			return err
		}
		least += room
	}
	least = (least + mib - 1) / mib * mib
	if o.Size < least {
		return fmt.Errorf("a size of %s is too small: at least %s is needed", FormatSize(o.Size), FormatSize(least))
	}
	return nil
}

// dataRoom estimates what the data partition needs. mke2fs would notice too,
// but cannot say which size would do.
func dataRoom(stage string) (int64, error) {
	var content int64
	err := filepath.WalkDir(stage, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			content += (info.Size() + 4095) / 4096 * 4096
		}
		return err
	})
	// Inode tables take 1/64 of the file system, journal and bitmaps less
	// than that; the rest is room for the node to work.
	return dataMin + content + content/8, err
}

func (o *Options) table() *gpt.Table {
	partitions := []gpt.Partition{
		{Number: 1, Type: gpt.TypeESP, GUID: newGUID(), FirstLBA: espStart / sectorSize, LastLBA: dataStart/sectorSize - 1, Name: "EFI system"},
	}
	if !o.NoData {
		partitions = append(partitions, gpt.Partition{
			Number: 2, Type: gpt.TypeKiosData, GUID: newGUID(), FirstLBA: dataStart / sectorSize, LastLBA: uint64((dataStart+o.dataSize())/sectorSize) - 1, Name: "kiOS data",
		})
	}
	return &gpt.Table{DiskGUID: newGUID(), SectorSize: sectorSize, Sectors: uint64(o.Size / sectorSize), Partitions: partitions}
}

// newGUID returns a random GUID (RFC 9562 version 4): two disks in a machine
// must not share theirs.
func newGUID() gpt.GUID {
	var g gpt.GUID
	rand.Read(g[:])
	g[7] = g[7]&0x0f | 0x40 // the third group is little-endian
	g[8] = g[8]&0x3f | 0x80
	return g
}

// finish gives the image its format and its name.
func (o *Options) finish(ctx context.Context, raw string) error {
	image := raw
	if o.Format == "qcow2" {
		image = raw + ".qcow2"
		if _, err := hosttool.Run(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image); err != nil {
			return err
		}
	}
	// What the user brings may hold keys.
	if err := os.Chmod(image, 0o600); err != nil {
		return err
	}
	if !o.Force {
		// Unlike rename, link does not replace a file that has come meanwhile.
		err := os.Link(image, o.Out)
		if !errors.Is(err, fs.ErrPermission) { // a file system without links, such as FAT
			return err
		}
	}
	return os.Rename(image, o.Out)
}
