package disk

import (
	"errors"
	"fmt"
	"os"

	"kios/internal/gpt"
)

// grow gives the mounted data partition, and then its file system, all that is
// free behind it. Each step looks at what is there, so that a run completes what
// an interrupted one began. A step that fails is logged, and tried again at the
// next boot.
func (s *Service) grow(d *device) {
	told := false
	if d.number > 0 {
		if err := s.growPartition(d); err != nil {
			s.Log.Printf("the data partition %s keeps its size: %v", d.node(), err)
			told = true
		}
	}
	grew, err := s.growFileSystem(d)
	switch {
	case err != nil:
		s.Log.Printf("the file system of %s keeps its size: %v", d.node(), err)
	case !grew && !told:
		s.Log.Printf("the data partition %s has %s, and there is no free space to grow into", d.node(), size(d.size))
	}
}

// growPartition changes the table and tells the kernel. d has the new size
// afterwards.
func (s *Service) growPartition(d *device) error {
	disk, err := s.block("/dev/" + d.disk)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.host(disk.node()), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("change the table of %s: %w", disk.node(), err)
	}
	defer f.Close()
	g, err := planGrowth(f, disk, d)
	if err != nil {
		return err
	}
	if err := gpt.Apply(f, disk.sectorSize, g.Patches, f.Sync); err != nil {
		return err
	}
	length := int64(g.Partition.Sectors()) * disk.sectorSize
	if length == d.size {
		return nil
	}
	if err := resizePartition(f, d.number, d.start, length); err != nil {
		return err
	}
	d.size = length
	return nil
}

// planGrowth returns the changes to the table of the disk that f is, with which
// its partition d reaches to the end.
func planGrowth(f *os.File, disk, d *device) (*gpt.Growth, error) {
	g, err := gpt.Grow(f, disk.sectorSize, uint64(disk.size/disk.sectorSize), d.number)
	if errors.Is(err, gpt.ErrNoTable) {
		return nil, fmt.Errorf("%s has no GPT, and other tables are not changed", disk.node())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", disk.node(), err)
	}
	if start := int64(g.Partition.FirstLBA) * disk.sectorSize; start != d.start {
		return nil, fmt.Errorf("%s: the partition starts at byte %d for the kernel, and at byte %d in the table", disk.node(), d.start, start)
	}
	return g, nil
}

// growFileSystem reports whether there was something to do.
func (s *Service) growFileSystem(d *device) (grew bool, err error) {
	f, err := os.Open(s.host(d.node()))
	if err != nil {
		return false, err
	}
	defer f.Close()
	sb, err := readSuperblock(f, 0)
	if err != nil {
		return false, err
	}
	blocks := fit(sb, d.size)
	if blocks <= sb.Blocks {
		return false, nil
	}
	from, to := size(sb.Size()), size(int64(blocks)*sb.BlockSize)
	if err := resizeExt4(s.Data, blocks); err != nil {
		return false, fmt.Errorf("grow it from %s to %s: %w (the kernel's log has the reason)", from, to, err)
	}
	s.Log.Printf("the data partition %s grew from %s to %s", d.node(), from, to)
	return true, nil
}
