package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kios/internal/datapart"
	"kios/internal/gpt"
)

const (
	label          = "kios-data"
	partitionName  = "kiOS data"
	partitionStart = 1 * mib
	minDisk        = 256 * mib // less fills up with the first images
)

// A data partition is made in these steps. Each is on the disk before the next
// begins:
//
//	wipe, if asked for   the first two MiB and the last are zero
//	mke2fs               while there is no table, the disk still looks blank
//	table                its GUIDs are derived from the file system's UUID
//
// After a power cut the next run recognises how far the last one came. If nothing
// of the table is there, the disk is blank and all is done again. If a part of
// the table is there, and it belongs to the file system on the disk, the rest is
// written. The MBR is written last: without it Linux sees no partitions.

// layout is where things are on a disk that is all data partition.
type layout struct {
	sectorSize int64
	sectors    uint64
	lastLBA    uint64 // of the partition
}

func newLayout(d *device) (*layout, error) {
	if d.size < minDisk {
		return nil, fmt.Errorf("its size of %s is too small: a data partition needs at least %s", size(d.size), size(minDisk))
	}
	l := &layout{sectorSize: d.sectorSize, sectors: uint64(d.size / d.sectorSize)}
	t := l.table([16]byte{})
	align := uint64(mib / d.sectorSize)
	l.lastLBA = (t.LastUsable()+1)/align*align - 1
	return l, nil
}

// end is where the partition ends, in bytes.
func (l *layout) end() int64 { return int64(l.lastLBA+1) * l.sectorSize }

func (l *layout) table(uuid [16]byte) *gpt.Table {
	disk := gpt.GUID(uuid)
	disk[15] ^= 1
	return &gpt.Table{
		DiskGUID: disk, SectorSize: l.sectorSize, Sectors: l.sectors,
		Partitions: []gpt.Partition{{
			Number: 1, Type: gpt.TypeKiosData, GUID: gpt.GUID(uuid), Name: partitionName,
			FirstLBA: uint64(partitionStart / l.sectorSize), LastLBA: l.lastLBA,
		}},
	}
}

// create makes a data partition where the user wants one, if that harms
// nothing. problems are those of looking for an existing one.
func (s *Service) create(ctx context.Context, w wishes, problems []datapart.Problem, events datapart.Events) error {
	d, c, err := s.choose(ctx, w, problems, events)
	if err != nil {
		s.Log.Printf("no data partition is made: %v", err)
		return nil
	}
	if err := s.make(ctx, d, c); err != nil {
		return fmt.Errorf("make a data partition on %s: %w", d.node(), err)
	}
	return s.move(ctx, d.partition(1))
}

// choose returns the disk to take, or why none is taken.
func (s *Service) choose(ctx context.Context, w wishes, problems []datapart.Problem, events datapart.Events) (*device, *contents, error) {
	if w.device != auto {
		return s.chooseNamed(ctx, w, events)
	}
	d, c, err := s.chooseBlank(ctx, w)
	if err == nil {
		err = w.takes(d)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, p := range problems {
		if p.Disk != d.name && s.system().Fixed(p.Disk) == nil {
			return nil, nil, fmt.Errorf("%s is blank, but another disk may have a data partition (%w): repair that, or name %s instead of auto", d.node(), p, d.node())
		}
	}
	return d, c, nil
}

func (s *Service) chooseNamed(ctx context.Context, w wishes, events datapart.Events) (*device, *contents, error) {
	if err := s.system().Device(s.host(w.device), events); err != nil {
		return nil, nil, errors.New(strings.ReplaceAll(err.Error(), s.host(w.device), w.device))
	}
	d, err := s.block(w.device)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(d.suits(w), w.takes(d)); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", d.node(), err)
	}
	if err := s.system().Allow(w.owner, d.name); err != nil {
		return nil, nil, err
	}
	c, err := s.probe(ctx, d)
	if err != nil {
		return nil, nil, onDisk(d, err)
	}
	if err := s.mayTake(d, c, w); err != nil {
		return nil, nil, err
	}
	s.sayWiped(d, c, w)
	return d, c, nil
}

// mayTake returns why what is on a disk must stay, or nil.
func (s *Service) mayTake(d *device, c *contents, w wishes) error {
	switch {
	case c.data:
		return fmt.Errorf("%s holds %s: a data partition is not wiped, not even with wipe: true; repair its table from another system", d.node(), c.found)
	case c.blank(), w.wipe, w.takesOver(c):
		return nil
	}
	return fmt.Errorf("%s is not blank but holds %s: to destroy that and use the disk, write wipe: true in %s", d.node(), c.found, s.Settings)
}

// sayWiped tells what is lost.
func (s *Service) sayWiped(d *device, c *contents, w wishes) {
	switch {
	case c.blank():
	case w.takesOver(c):
		s.Log.Printf("wiping %s, a disk of this instance, which holds %s, but no table and no file system", d.node(), c.found)
	default:
		s.Log.Printf("wiping %s, which holds %s, because wipe is true", d.node(), c.found)
	}
}

// takesOver reports whether what is on a disk needs nobody's leave to be destroyed: what no
// program has a name for, on a disk that the instance got when it started.
func (w wishes) takesOver(c *contents) bool { return w.instanceStore && c.noise }

// takes reports whether PID 1 would use the partition that is made on a disk.
func (w wishes) takes(d *device) error {
	if w.owner.DataPart == datapart.Auto || w.owner.DataPart == d.partition(1) {
		return nil
	}
	return fmt.Errorf("datapart=%s on the kernel command line names another data partition than %s, which would be made", w.owner.DataPart, d.partition(1))
}

// suits reports what is wrong with a disk that was named.
func (d *device) suits(w wishes) error {
	switch {
	case d.number > 0:
		return fmt.Errorf("is a partition; name the whole disk, /dev/%s", d.disk)
	case d.size == 0:
		return errors.New("has no medium")
	case readText(filepath.Join(d.dir, "ro")) == "1":
		return errors.New("is read-only")
	case w.serial != "" && d.serial() != w.serial:
		return fmt.Errorf("has the serial number %q, not %q", d.serial(), w.serial)
	}
	return nil
}

// chooseBlank returns the only disk that is blank.
func (s *Service) chooseBlank(ctx context.Context, w wishes) (*device, *contents, error) {
	var blank []*device
	var last *contents
	var others []string
	for _, d := range s.disks() {
		c, err := s.consider(ctx, d, w)
		if err != nil {
			others = append(others, fmt.Sprintf("%s: %v", d.node(), err))
			continue
		}
		blank, last = append(blank, d), c
	}
	switch len(blank) {
	case 1:
		return blank[0], last, nil
	case 0:
		return nil, nil, fmt.Errorf("auto takes the one blank disk, and none is blank (%s)", orNone(others))
	}
	var names []string
	for _, d := range blank {
		names = append(names, d.node())
	}
	return nil, nil, fmt.Errorf("auto takes the one blank disk, and several are blank: name one of %s in the field device", strings.Join(names, ", "))
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "there is no disk"
	}
	return strings.Join(list, "; ")
}

// consider returns an error for a disk that auto does not take.
func (s *Service) consider(ctx context.Context, d *device, w wishes) (*contents, error) {
	if err := d.suits(w); err != nil {
		return nil, err
	}
	c, err := s.probe(ctx, d)
	if err == nil && !c.blank() {
		err = fmt.Errorf("holds %s", c.found)
	}
	return c, err
}

// disks returns the disks that auto may take: those that are a fixed part of the
// machine and have a medium.
func (s *Service) disks() []*device {
	var all []*device
	dirs, _ := filepath.Glob(filepath.Join(s.Sys, "block/*"))
	for _, dir := range dirs {
		d, err := s.block("/dev/" + filepath.Base(dir))
		if err == nil && d.size > 0 && s.system().Fixed(d.name) == nil {
			all = append(all, d)
		}
	}
	return all
}

// make makes the data partition.
func (s *Service) make(ctx context.Context, d *device, c *contents) error {
	l, err := newLayout(d)
	if err != nil {
		return err
	}
	if err := s.prepare(ctx, d, l, c); err != nil {
		return err
	}
	uuid := newUUID()
	if c.unfinished != nil {
		uuid = c.unfinished.UUID
	} else if err := s.makeExt4(ctx, d, partitionStart, l.end()-partitionStart, uuid); err != nil {
		return err
	}
	if err := s.writeTable(d, l, uuid); err != nil {
		return err
	}
	s.Log.Printf("made the data partition %s, %s", d.partition(1), size(l.end()-partitionStart))
	return nil
}

// prepare makes the disk blank and has the kernel forget what was on it. The
// kernel refuses to forget a partition that is in use.
func (s *Service) prepare(ctx context.Context, d *device, l *layout, c *contents) error {
	f, err := s.open(d, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, number := range d.partitions() {
		if err := deletePartition(f, number); err != nil {
			return err
		}
	}
	if c.blank() {
		return nil
	}
	if err := wipe(f, d, l); err != nil {
		return err
	}
	f.Close() // probe wants to be the only user
	after, err := s.probe(ctx, d)
	if err == nil && !after.blank() {
		err = fmt.Errorf("after wiping it still holds %s", after.found)
	}
	return err
}

// wipe leaves nothing that probe would find.
func wipe(f *os.File, d *device, l *layout) error {
	from := min(l.end(), d.size-mib)
	for _, part := range []struct{ at, length int64 }{{0, 2 * mib}, {from, d.size - from}} {
		if _, err := f.WriteAt(make([]byte, part.length), part.at); err != nil {
			return fmt.Errorf("wipe: %w", err)
		}
	}
	return f.Sync()
}

// makeExt4 makes the file system on a part of a disk, where the partition will be. Its features are
// those of the images that the host makes: any kernel of kiOS mounts it, and with
// resize_inode, flex_bg and 64bit it grows a thousandfold while in use. The
// journal is written at once: what was on the disk must not be taken for one.
// Discarding the disk's old contents is left out, as it takes minutes on some.
func (s *Service) makeExt4(ctx context.Context, d *device, start, length int64, uuid [16]byte) error {
	args := []string{"-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-i", fmt.Sprint(inodeRatio(length)), "-m", "1",
		"-O", "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum",
		"-E", fmt.Sprintf("offset=%d,nodiscard,lazy_itable_init=1,lazy_journal_init=0,root_owner=0:0", start),
		"-L", label, "-U", formatUUID(uuid)}
	if length >= 8<<30 {
		args = append(args, "-J", "size=128") // more, as mke2fs would take, is for servers of files
	}
	args = append(args, s.host(d.node()), fmt.Sprintf("%dk", length/1024))
	_, said, code, err := run(ctx, mke2fs, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("mke2fs: %s", oneLine(strings.ReplaceAll(said, s.host(d.node()), d.node())))
	}
	return err
}

// inodeRatio is mke2fs's usual one, unless that makes more inodes than ext4 can
// have after the file system doubled.
func inodeRatio(length int64) int64 {
	ratio := int64(16384)
	for length/ratio >= 1<<31 {
		ratio *= 2
	}
	return ratio
}

func (s *Service) writeTable(d *device, l *layout, uuid [16]byte) error {
	patches, err := l.table(uuid).Patches()
	if err != nil {
		return err
	}
	f, err := s.open(d, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil { // what mke2fs wrote
		return err
	}
	if err := gpt.Apply(f, l.sectorSize, patches, f.Sync); err != nil {
		return err
	}
	return addPartition(f, 1, partitionStart, l.end()-partitionStart)
}

// newUUID returns a random one (RFC 9562, version 4).
func newUUID() (u [16]byte) {
	_, _ = rand.Read(u[:]) // it never fails
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// formatUUID writes a UUID as ext4 has it: big-endian, unlike GUIDs in a table.
func formatUUID(u [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
