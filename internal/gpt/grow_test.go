package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

// grown returns the example's disk with a number of sectors that is not aligned
// to anything added behind it.
func grown(t testing.TB, sectorSize int64) memory {
	t.Helper()
	disk, _ := writeExample(t, sectorSize)
	return append(disk, make(memory, 5001*sectorSize)...)
}

func (m memory) sectors(size int64) uint64 { return uint64(int64(len(m)) / size) }

func growIt(t *testing.T, disk memory, size int64, number int) *Growth {
	t.Helper()
	g, err := Grow(bytes.NewReader(disk), size, disk.sectors(size), number)
	lab.Must(t, err)
	return g
}

func TestGrow(t *testing.T) {
	for _, size := range []int64{512, 4096} {
		disk := grown(t, size)
		before := bytes.Clone(disk)
		g := growIt(t, disk, size, 3)
		lab.Must(t, Apply(disk, size, g.Patches, nil))
		end := int64(g.Partition.LastLBA+1) * size
		if free := int64(len(disk)) - end; end%growAlign != 0 || free < 0 || free > 2*growAlign {
			t.Errorf("sector size %d: the partition ends at %d of %d", size, end, len(disk))
		}
		want := exampleTable(size)
		want.Sectors = disk.sectors(size)
		want.Partitions[1].LastLBA = g.Partition.LastLBA
		checkBoth(t, disk, want)
		if again := growIt(t, disk, size, 3); len(again.Patches) != 0 {
			t.Errorf("sector size %d: a second time there are %d patches", size, len(again.Patches))
		}
		// Nothing but the tables has changed.
		first, last := want.FirstUsable()*uint64(size), (want.LastUsable()+1)*uint64(size)
		if !bytes.Equal(before[first:last], disk[first:last]) {
			t.Errorf("sector size %d: something between the tables has changed", size)
		}
	}
}

// checkBoth reads the table and its backup.
func checkBoth(t *testing.T, disk memory, want *Table) {
	t.Helper()
	for _, lba := range []uint64{1, want.Sectors - 1} {
		got, err := readAt(bytes.NewReader(disk), want.SectorSize, want.Sectors, lba)
		lab.Must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("table at LBA %d: (-want +got)\n%s", lba, diff)
		}
	}
	if size := binary.LittleEndian.Uint32(disk[446+12:]); uint64(size) != want.Sectors-1 {
		t.Errorf("the protective MBR has %d sectors, want %d", size, want.Sectors-1)
	}
}

// TestGrowPowerCut stops after each write and within each, sector by sector.
func TestGrowPowerCut(t *testing.T) {
	for _, size := range []int64{512, 4096} {
		start := grown(t, size)
		full := growIt(t, start, size, 3)
		done := bytes.Clone(start)
		_ = Apply(memory(done), size, full.Patches, nil)
		disk := make(memory, len(start)) // one for all: it is large
		for n, cut := range cuts(full.Patches, size) {
			copy(disk, start)
			_ = Apply(disk, size, cut, nil)
			// What the kernel goes by: the primary alone.
			table, err := readAt(bytes.NewReader(disk), size, disk.sectors(size), 1)
			if err != nil {
				t.Fatalf("sector size %d, cut %d: %v", size, n, err)
			}
			if last := table.Partitions[1].LastLBA; last != 6143 && last != full.Partition.LastLBA {
				t.Errorf("sector size %d, cut %d: the partition ends at %d", size, n, last)
			}
			lab.Must(t, Apply(disk, size, growIt(t, disk, size, 3).Patches, nil))
			if !bytes.Equal(disk, done) {
				t.Errorf("sector size %d, cut %d: the next run does not complete it", size, n)
			}
		}
	}
}

// cuts returns each sequence of sectors that is on the disk when the power goes.
func cuts(patches []Patch, size int64) (all [][]Patch) {
	var sofar []Patch
	for _, p := range patches {
		for at := int64(0); at < int64(len(p.Data)); at += size {
			end := min(at+size, int64(len(p.Data)))
			all = append(all, slices.Clone(sofar))
			sofar = append(sofar, Patch{p.LBA + uint64(at/size), p.Data[at:end]})
		}
	}
	return append(all, sofar)
}

// TestGrowTwice lets the disk grow again before a growth is complete.
func TestGrowTwice(t *testing.T) {
	disk := grown(t, 512)
	_ = Apply(disk, 512, growIt(t, disk, 512, 3).Patches[:3], nil)
	disk = append(disk, make(memory, 10<<20)...)
	g := growIt(t, disk, 512, 3)
	_ = Apply(disk, 512, g.Patches, nil)
	want := exampleTable(512)
	want.Sectors, want.Partitions[1].LastLBA = disk.sectors(512), g.Partition.LastLBA
	checkBoth(t, disk, want)
}

// TestGrowInPlace takes space that was free before, on a disk of the same size.
func TestGrowInPlace(t *testing.T) {
	disk := make(memory, 64<<20)
	table := exampleTable(512)
	table.Sectors = disk.sectors(512)
	lab.Must(t, Write(disk, table))
	g := growIt(t, disk, 512, 3)
	_ = Apply(disk, 512, g.Patches, nil)
	if g.Partition.LastLBA <= 6143 {
		t.Error("it did not grow")
	}
	table.Partitions[1].LastLBA = g.Partition.LastLBA
	checkBoth(t, disk, table)
}

func TestGrowRefuses(t *testing.T) {
	le := binary.LittleEndian
	tests := []struct {
		name   string
		number int
		edit   func(d memory)
		want   string
	}{
		{"not last", 1, func(memory) {}, "grow partition 1: another partition lies behind it"},
		{"no such", 2, func(memory) {}, "not in the table"},
		{"no table", 3, func(d memory) { clear(d[512:520]) }, "no GUID partition table"},
		{"damaged header", 3, func(d memory) { d[512+60]++ }, "checksum is wrong"},
		{"damaged entries", 3, func(d memory) { d[1024]++ }, "checksum is wrong"},
		{"entries elsewhere", 3, func(d memory) {
			copy(d[100*512:], d[2*512:34*512])
			le.PutUint64(d[512+72:], 100)
			rehash(d)
		}, "unusual layout (entries at LBA 100)"},
		{"disk has shrunk", 3, func(d memory) { le.PutUint64(d[512+32:], 1<<40); rehash(d) }, "smaller than its table says"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			disk := grown(t, 512)
			tt.edit(disk)
			_, err := Grow(bytes.NewReader(disk), 512, disk.sectors(512), tt.number)
			checkError(t, err, tt.want)
		})
	}
	disk, _ := writeExample(t, 512)
	if g, err := Grow(bytes.NewReader(disk), 512, 8192, 1); err != nil || len(g.Patches) > 0 {
		t.Errorf("a partition that is not last, on a disk without free space: %v, %v", g, err)
	}
	if _, err := Grow(bytes.NewReader(grown(t, 512)), 512, 13193, 1); !errors.Is(err, ErrNotLast) {
		t.Errorf("error = %v, want ErrNotLast", err)
	}
}

// TestGrowKeeps has a table of a tool of others, with what we never write: a
// boot loader in the MBR and 256 entries.
func TestGrowKeeps(t *testing.T) {
	disk := grown(t, 512)
	copy(disk, "boot loader")
	entries := append(bytes.Clone(disk[1024:1024+16384]), make([]byte, 16384)...)
	entries[128+60] = 7 // of an entry that is not used
	copy(disk[1024:], entries)
	binary.LittleEndian.PutUint32(disk[512+80:], 256)
	binary.LittleEndian.PutUint32(disk[512+88:], crc32.ChecksumIEEE(entries))
	binary.LittleEndian.PutUint64(disk[512+40:], 66) // the first usable sector
	rehash(disk)
	g := growIt(t, disk, 512, 3)
	_ = Apply(disk, 512, g.Patches, nil)
	if !bytes.HasPrefix(disk, []byte("boot loader")) || disk[1024+128+60] != 7 {
		t.Error("something that is not ours has changed")
	}
	sgdisk(t, disk)
}

// sgdisk is asked for its opinion of every state in which a growth can be left.
func TestSgdiskAgreesOnGrowth(t *testing.T) {
	disk := grown(t, 512)
	for _, p := range growIt(t, disk, 512, 3).Patches {
		_ = Apply(disk, 512, []Patch{p}, nil)
		if out := sgdiskOutput(t, disk, "-p"); strings.Contains(out, "invalid") || !strings.Contains(out, "dätä") {
			t.Errorf("after the write at LBA %d sgdisk says:\n%s", p.LBA, out)
		}
	}
	sgdisk(t, disk)
}

func sgdisk(t *testing.T, disk memory) {
	t.Helper()
	if out := sgdiskOutput(t, disk, "-v"); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk says:\n%s", out)
	}
}

func sgdiskOutput(t *testing.T, disk memory, option string) string {
	t.Helper()
	if _, err := exec.LookPath("sgdisk"); err != nil {
		t.Skip("sgdisk is not installed (apt-get install gdisk)")
	}
	path := filepath.Join(t.TempDir(), "disk")
	lab.Must(t, os.WriteFile(path, disk, 0o600))
	out, err := exec.Command("sgdisk", option, path).CombinedOutput()
	if err != nil {
		t.Errorf("sgdisk: %v", err)
	}
	return string(out)
}

func FuzzGrow(f *testing.F) {
	disk := grown(f, 512)
	f.Add([]byte(disk[:40*512]), 3)
	f.Fuzz(func(t *testing.T, b []byte, number int) {
		if len(b) >= 1024 {
			rehash(b)
		}
		const sectors = 13193
		g, err := Grow(bytes.NewReader(b), 512, sectors, number)
		if err != nil {
			return
		}
		for _, p := range g.Patches {
			if p.LBA+uint64(len(p.Data)/512) > sectors || len(p.Data)%512 != 0 {
				t.Errorf("%d bytes at LBA %d", len(p.Data), p.LBA)
			}
		}
	})
}
