package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

// memory is a disk in memory.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

func exampleTable(sectorSize int64) *Table {
	return &Table{
		DiskGUID:   MustParseGUID("11111111-2222-3333-4444-555555555555"),
		SectorSize: sectorSize,
		Sectors:    8192,
		Partitions: []Partition{
			{Number: 1, Type: TypeESP, GUID: MustParseGUID("aaaaaaaa-0000-0000-0000-000000000001"), FirstLBA: 2048, LastLBA: 4095, Name: "EFI system"},
			{Number: 3, Type: TypeKiosData, GUID: MustParseGUID("aaaaaaaa-0000-0000-0000-000000000002"), FirstLBA: 4096, LastLBA: 6143, Attributes: 1 << 60, Name: "dätä 🙂"},
		},
	}
}

func writeExample(t testing.TB, sectorSize int64) (memory, *Table) {
	t.Helper()
	want := exampleTable(sectorSize)
	disk := make(memory, int64(want.Sectors)*sectorSize)
	lab.Must(t, Write(disk, want))
	return disk, want
}

func TestRoundTrip(t *testing.T) {
	for _, size := range []int64{512, 4096} {
		disk, want := writeExample(t, size)
		got, err := Read(bytes.NewReader(disk), size, want.Sectors)
		if err != nil {
			t.Fatalf("sector size %d: %v", size, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("sector size %d: (-want +got)\n%s", size, diff)
		}
	}
}

func TestGUID(t *testing.T) {
	const text = "97aac693-d920-465a-94fe-eb59fc86dfaa"
	g, err := ParseGUID(strings.ToUpper(text))
	lab.Must(t, err)
	if g.String() != text {
		t.Errorf("String() = %s, want %s", g, text)
	}
	if g[0] != 0x93 || g[4] != 0x20 || g[8] != 0x94 {
		t.Errorf("bytes on disk = %x, want mixed-endian", g[:])
	}
	for _, bad := range []string{"", text[1:], text + "0", "97aac693_d920-465a-94fe-eb59fc86dfaa", "g" + text[1:]} {
		if _, err := ParseGUID(bad); err == nil {
			t.Errorf("ParseGUID(%q) succeeded", bad)
		}
	}
}

// rehash makes the primary header's checksum right again after an edit.
func rehash(disk memory) {
	h := disk[512 : 512+headerSize]
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
}

func TestReadDamaged(t *testing.T) {
	le := binary.LittleEndian
	tests := []struct {
		name    string
		damage  func(d memory)
		sectors uint64
		want    string // "" when the backup saves the day
	}{
		{"primary signature, backup known", func(d memory) { d[512] = 0 }, 8192, ""},
		{"primary checksum, backup known", func(d memory) { d[512+57]++ }, 8192, ""},
		{"entries, backup known", func(d memory) { d[1024]++ }, 8192, ""},
		{"MBR", func(d memory) { clear(d[:512]) }, 0, ""},
		{"primary signature, size unknown", func(d memory) { d[512] = 0 }, 0, "no GUID partition table"},
		{"primary checksum, size unknown", func(d memory) { d[512+57]++ }, 0, "header at LBA 1: checksum"},
		{"entries, size unknown", func(d memory) { d[1024]++ }, 0, "entries at LBA 2: checksum"},
		{"all zero", func(d memory) { clear(d) }, 8192, "no GUID partition table"},
		{"too large entries", func(d memory) { le.PutUint32(d[512+84:], 4096); rehash(d) }, 0, "128 entries of 4096 bytes are more"},
		{"too many entries", func(d memory) { le.PutUint32(d[512+80:], 1<<30); rehash(d) }, 0, "1073741824 entries"},
		{"entry size", func(d memory) { le.PutUint32(d[512+84:], 56); rehash(d) }, 0, "entry size 56"},
		{"huge entry size", func(d memory) { le.PutUint32(d[512+84:], 1<<20); rehash(d) }, 0, "entry size 1048576"},
		{"header size", func(d memory) { le.PutUint32(d[512+12:], 4096) }, 0, "header size 4096"},
		{"other place", func(d memory) { le.PutUint64(d[512+24:], 7); rehash(d) }, 0, "is at LBA 7"},
		{"entries out of range", func(d memory) { le.PutUint64(d[512+72:], 1<<62); rehash(d) }, 0, "out of range"},
		{"entries beyond the end", func(d memory) { le.PutUint64(d[512+72:], 8190); rehash(d) }, 0, "LBA 8190: EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			disk, _ := writeExample(t, 512)
			tt.damage(disk)
			_, err := Read(bytes.NewReader(disk), 512, tt.sectors)
			checkError(t, err, tt.want)
		})
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error = %v, want none", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error = %v, want one with %q", err, want)
	}
}

func TestReadTiny(t *testing.T) {
	for _, n := range []int{0, 511, 512, 1000} {
		if _, err := Read(bytes.NewReader(make([]byte, n)), 512, 0); !errors.Is(err, ErrNoTable) {
			t.Errorf("%d bytes: error = %v, want ErrNoTable", n, err)
		}
	}
	if _, err := Read(bytes.NewReader(nil), 500, 0); err == nil {
		t.Error("sector size 500 was accepted")
	}
}

func TestWriteRefuses(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Table)
		want string
	}{
		{"overlap", func(t *Table) { t.Partitions[1].FirstLBA = 4095 }, "partition 3 overlaps partition 1"},
		{"beyond the end", func(t *Table) { t.Partitions[1].LastLBA = 8191 }, "are not within 34 to 8158"},
		{"too early", func(t *Table) { t.Partitions[0].FirstLBA = 33 }, "are not within"},
		{"backwards", func(t *Table) { t.Partitions[0].LastLBA = 2047 }, "ends before it begins"},
		{"number twice", func(t *Table) { t.Partitions[1].Number = 1 }, "there are two"},
		{"number 0", func(t *Table) { t.Partitions[1].Number = 0 }, "number is not"},
		{"no type", func(t *Table) { t.Partitions[1].Type = GUID{} }, "has no type"},
		{"long name", func(t *Table) { t.Partitions[1].Name = strings.Repeat("x", 37) }, "longer than 36"},
		{"sector size", func(t *Table) { t.SectorSize = 1024 }, "neither 512 nor 4096"},
		{"small disk", func(t *Table) { t.Sectors = 60 }, "no room"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := exampleTable(512)
			tt.edit(table)
			checkError(t, Write(make(memory, 8192*512), table), tt.want)
		})
	}
}

func TestSgdiskAgrees(t *testing.T) {
	if _, err := exec.LookPath("sgdisk"); err != nil {
		t.Skip("sgdisk is not installed (apt-get install gdisk)")
	}
	disk, _ := writeExample(t, 512)
	path := filepath.Join(t.TempDir(), "disk")
	lab.Must(t, os.WriteFile(path, disk, 0o600))
	out, err := exec.Command("sgdisk", "-v", "-p", "-i", "3", path).CombinedOutput()
	if err != nil {
		t.Fatalf("sgdisk: %v\n%s", err, out)
	}
	for _, want := range []string{"No problems found", "11111111-2222-3333-4444-555555555555", "97AAC693-D920-465A-94FE-EB59FC86DFAA", "dätä"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("sgdisk does not say %q:\n%s", want, out)
		}
	}
}

func FuzzRead(f *testing.F) {
	disk, _ := writeExample(f, 512)
	head := bytes.Clone(disk[:34*512])
	f.Add([]byte(head), uint64(0))
	f.Add([]byte(head), uint64(34))
	f.Fuzz(func(t *testing.T, b []byte, sectors uint64) {
		if len(b) >= 1024 { // let mutations of the header through its checksum
			rehash(b)
		}
		table, err := Read(bytes.NewReader(b), 512, sectors)
		if (table == nil) == (err == nil) {
			t.Errorf("Read = %v, %v", table, err)
		}
	})
}
