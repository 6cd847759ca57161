package qemu

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/internal/gpt"
	"kios/test/lab"
)

// diskWith makes a disk with partitions of these types.
func diskWith(t *testing.T, types ...gpt.GUID) string {
	t.Helper()
	const sectors = 8192
	table := &gpt.Table{SectorSize: 512, Sectors: sectors, DiskGUID: gpt.GUID{1}}
	for i, typ := range types {
		first := uint64(1024 * (i + 1))
		table.Partitions = append(table.Partitions, gpt.Partition{Number: i + 1, Type: typ, GUID: gpt.GUID{byte(i + 2)}, FirstLBA: first, LastLBA: first + 1023})
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	lab.Must(t, err)
	defer f.Close()
	lab.Must(t, f.Truncate(sectors*512))
	lab.Must(t, gpt.Write(f, table))
	return f.Name()
}

func TestNameBootDisk(t *testing.T) {
	data, other := diskWith(t, gpt.TypeESP, gpt.TypeKiosData), diskWith(t, gpt.TypeESP)
	const word = "quiet datapart=PARTUUID=00000003-0000-0000-0000-000000000000"
	for _, tt := range []struct {
		name, line string
		disks      []string
		want       string
	}{
		{"the first disk", "quiet", []string{data, other}, word},
		{"another disk", "quiet", []string{other, data}, "quiet"},
		{"two on the first disk", "quiet", []string{diskWith(t, gpt.TypeKiosData, gpt.TypeKiosData)}, "quiet"},
		{"no table", "quiet", []string{"/dev/null"}, "quiet"},
		{"no disk", "quiet", nil, "quiet"},
		{"named already", "datapart=/dev/vdb2", []string{data}, "datapart=/dev/vdb2"},
	} {
		c := Config{Append: tt.line, Dir: t.TempDir()}
		for _, path := range tt.disks {
			c.Disks = append(c.Disks, Disk{Path: path})
		}
		c.nameBootDisk(t.Context())
		if c.Append != tt.want {
			t.Errorf("%s: the command line is %q, want %q", tt.name, c.Append, tt.want)
		}
	}
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img here")
	}
	qcow2 := filepath.Join(t.TempDir(), "disk.qcow2")
	lab.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", data, qcow2)
	c := Config{Append: "quiet", Dir: t.TempDir(), Disks: []Disk{{Path: qcow2}}}
	if c.nameBootDisk(t.Context()); c.Append != word {
		t.Errorf("qcow2: the command line is %q, want %q", c.Append, word)
	}
}

// A disk that no machine boots from is refused before one is powered on, with the reason.
func TestCheckBoot(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, size int64, at map[int64]string) string {
		f, err := os.Create(filepath.Join(dir, name))
		lab.Must(t, err)
		defer f.Close()
		lab.Must(t, f.Truncate(size))
		for offset, text := range at {
			_, err := f.WriteAt([]byte(text), offset)
			lab.Must(t, err)
		}
		return f.Name()
	}
	change := func(path string, at int64) string {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		lab.Must(t, err)
		defer f.Close()
		_, err = f.WriteAt([]byte{0xff}, at)
		lab.Must(t, err)
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	lab.Must(t, unix.Mkfifo(pipe, 0o600))
	ours := diskWith(t, gpt.TypeESP, gpt.TypeKiosData)
	const noTable, noESP, signed = "has no partition table: give a disk that kios image has made", "has no EFI system partition", "\x55\xaa"
	for _, tt := range []struct {
		name, path   string
		uefi, direct string // the reasons; "" if it boots
	}{
		{"ours", ours, "", ""},
		{"without an ESP", diskWith(t, gpt.TypeKiosData), noESP, ""},
		{"without a partition", diskWith(t), noESP, ""},
		{"a text", file("README.md", 5000, map[int64]string{0: "# Read me\n"}), noTable, noTable},
		{"a short text", file("short", 3, nil), noTable, noTable},
		{"empty", file("empty", 0, nil), noTable, noTable},
		{"blank", file("blank", 1<<20, nil), noTable, noTable},
		{"a damaged table", change(change(diskWith(t, gpt.TypeESP), 512+57), 8191*512+57), "partition table is damaged", "partition table is damaged"},
		{"a damaged table with a backup", change(diskWith(t, gpt.TypeESP), 512+57), "", ""},
		{"an MBR", file("mbr", 1<<20, map[int64]string{446 + 16 + 4: "\xef", 510: signed}), "", ""},
		{"an MBR without an ESP", file("old", 1<<20, map[int64]string{446 + 4: "\x83", 510: signed}), noTable, noTable},
		{"FAT alone", file("fat", 1<<20, map[int64]string{82: "FAT32   ", 510: signed}), "", ""},
		{"a pipe", pipe, "neither a file nor a block device", "neither a file nor a block device"},
		{"a character device", "/dev/null", "neither a file nor a block device", "neither a file nor a block device"},
		{"nothing", "/no/disk", "no such file", "no such file"},
	} {
		checkBootOf(t, tt.name, tt.path, false, tt.uefi)
		checkBootOf(t, tt.name+", direct", tt.path, true, tt.direct)
	}
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("no qemu-img here")
	}
	for from, want := range map[string]string{ours: "", filepath.Join(dir, "blank"): noTable} {
		qcow2 := filepath.Join(t.TempDir(), "disk.qcow2")
		lab.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", from, qcow2)
		checkBootOf(t, "qcow2 of "+from, qcow2, false, want)
	}
	checkBootOf(t, "half a qcow2", file("half.qcow2", 4, map[int64]string{0: "QFI\xfb"}), false, "qemu-img: ")
}

func checkBootOf(t *testing.T, name, path string, direct bool, want string) {
	t.Helper()
	err := Disk{Path: path}.CheckBoot(t.Context(), t.TempDir(), direct)
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: CheckBoot = %v, want %q", name, err, want)
	}
}
