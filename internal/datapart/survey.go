package datapart

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"kios/internal/gpt"

	"golang.org/x/sys/unix"
)

// diskBound is how long a disk may take to have its table read. The kernel has read
// it before, and one that does not answer must not hold up the others.
const diskBound = 5 * time.Second

// Partition is one of a disk's GPT.
type Partition struct {
	Disk       string // the kernel's name
	Device     string // in Dev
	Type, GUID gpt.GUID
}

// String returns how the kernel command line can name the partition.
func (p Partition) String() string {
	return fmt.Sprintf("/dev/%s (%s%v)", filepath.Base(p.Device), partUUID, p.GUID)
}

// Problem is why a disk was left out.
type Problem struct {
	Disk string
	Err  error
}

func (p Problem) Error() string { return "disk " + p.Disk + ": " + p.Err.Error() }

func (p Problem) Unwrap() error { return p.Err }

// survey is what is on all disks.
type survey struct {
	partitions []Partition
	problems   []Problem
}

// data splits the partitions of our type by whether their disk counts.
func (all survey) data(counts func(disk string) bool) (candidates, others []Partition) {
	for _, p := range all.partitions {
		switch {
		case p.Type != gpt.TypeKiosData:
		case counts(p.Disk):
			candidates = append(candidates, p)
		default:
			others = append(others, p)
		}
	}
	return candidates, others
}

// withGUID returns the partitions that PARTUUID=GUID names.
func (all survey) withGUID(name string) (found []Partition, err error) {
	guid, err := gpt.ParseGUID(strings.TrimPrefix(name, partUUID))
	for _, p := range all.partitions {
		if err == nil && p.GUID == guid {
			found = append(found, p)
		}
	}
	return found, err
}

// has reports whether a disk has the partition with that GUID.
func (all survey) has(disk string, guid gpt.GUID) bool {
	return slices.ContainsFunc(all.partitions, func(p Partition) bool { return p.Disk == disk && p.GUID == guid })
}

// survey reads the tables of all disks, at the same time.
func (s System) survey() survey {
	type result struct {
		disk       string
		partitions []Partition
		err        error
	}
	names := s.disks()
	results := make(chan result, len(names))
	for _, name := range names {
		go func() {
			partitions, err := s.readSafely(name)
			results <- result{name, partitions, err}
		}()
	}
	var all survey
	late := time.After(diskBound)
	for waiting := slices.Clone(names); len(waiting) > 0; {
		select {
		case r := <-results:
			waiting = slices.DeleteFunc(waiting, func(name string) bool { return name == r.disk })
			all.partitions = append(all.partitions, r.partitions...)
			if r.err != nil {
				all.problems = append(all.problems, Problem{r.disk, r.err})
			}
		case <-late:
			for _, name := range waiting {
				all.problems = append(all.problems, Problem{name, fmt.Errorf("it did not answer within %v", diskBound)})
			}
			waiting = nil
		}
	}
	all.sort()
	return all
}

func (all survey) sort() {
	slices.SortFunc(all.partitions, func(a, b Partition) int { return strings.Compare(a.Device, b.Device) })
	slices.SortFunc(all.problems, func(a, b Problem) int { return strings.Compare(a.Disk, b.Disk) })
}

// disk is what is needed of an open disk.
type disk interface {
	io.ReaderAt
	io.Closer
}

func (s System) openDisk(path string) (disk, error) {
	if s.open != nil {
		return s.open(path)
	}
	return openBlock(path)
}

// openBlock opens a block device and nothing else. It does not wait, and it has no
// effect on what is opened.
func openBlock(path string) (*os.File, error) {
	info, err := os.Lstat(path) // to open some devices means to use them
	if err != nil {
		return nil, err
	}
	if !isBlock(info) {
		return nil, fmt.Errorf("%s is not a block device", path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil && !isBlock(info) {
		err = fmt.Errorf("%s is not a block device", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readSafely is readDisk for a goroutine of its own: whatever a disk holds, a panic would
// end PID 1 and the machine with it.
func (s System) readSafely(name string) (partitions []Partition, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("read its table: panic: %v", v)
		}
	}()
	return s.readDisk(name)
}

// readDisk returns the partitions of a disk. The error may concern some of them only.
func (s System) readDisk(name string) ([]Partition, error) {
	dir := filepath.Join(s.Sys, "block", name)
	sectors := number(filepath.Join(dir, "size"), 0) // of 512 bytes, whatever the disk's are
	if sectors == 0 {
		return nil, nil
	}
	f, err := s.openDisk(filepath.Join(s.Dev, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := max(512, number(filepath.Join(dir, "queue/logical_block_size"), 512))
	table, err := gpt.Read(f, size, uint64(sectors*512/size))
	if errors.Is(err, gpt.ErrNoTable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.shown(name, table)
}

// shown returns the partitions of a table that the kernel knows.
func (s System) shown(disk string, table *gpt.Table) (partitions []Partition, err error) {
	for _, p := range table.Partitions {
		name, ok := partitionName(filepath.Join(s.Sys, "block", disk), p.Number)
		if !ok {
			if p.Type == gpt.TypeKiosData {
				err = fmt.Errorf("the kernel does not show partition %d (its entry may reach past the disk's end)", p.Number)
			}
			continue
		}
		partitions = append(partitions, Partition{disk, filepath.Join(s.Dev, name), p.Type, p.GUID})
	}
	return partitions, err
}

// partitionName asks the kernel for the name of a partition: vda2, nvme0n1p2.
func partitionName(dir string, number int) (string, bool) {
	files, _ := filepath.Glob(filepath.Join(dir, filepath.Base(dir)+"*", "partition"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if strings.TrimSpace(string(text)) == strconv.Itoa(number) {
			return filepath.Base(filepath.Dir(file)), true
		}
	}
	return "", false
}

// number reads a file that holds a number, or returns what to take otherwise.
func number(file string, otherwise int64) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return otherwise
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n < 0 {
		return otherwise
	}
	return n
}
