package qemu

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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
