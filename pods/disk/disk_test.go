package disk

import (
	"bytes"
	"encoding/binary"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/internal/datapart"
	"kios/internal/ext4"
	"kios/internal/gpt"
	testlab "kios/test/lab"
)

// The tests with real tools and disks have the build tag root.

func TestWishes(t *testing.T) {
	tests := []struct {
		file, cmdline string
		want          wishes
		log           string // part of it, "" for nothing
	}{
		{"", "", wishes{repair: true, owner: datapart.Rule{DataPart: "auto"}}, ""},
		{"device: auto\nserial: x\n", "quiet", wishes{device: "auto", serial: "x", repair: true, owner: datapart.Rule{DataPart: "auto"}}, ""},
		{"device: /dev/sda\nwipe: true\nrepair: false\n", "datapart=/dev/vdb", wishes{device: "/dev/sda", wipe: true, owner: datapart.Rule{DataPart: "/dev/vdb"}}, ""},
		{"device: /dev/sda\nserial: x\nwipe: true\n", "kios.disk=/dev/sda", wishes{device: "/dev/sda", repair: true, owner: datapart.Rule{DataPart: "auto", Disk: "/dev/sda"}}, ""},
		{"repair: false\n", "kios.disk=auto datapart=none", wishes{device: "auto", owner: datapart.Rule{DataPart: "none", Disk: "auto"}}, ""},
		{"repair: no way\n", "kios.disk=auto", wishes{repair: true, owner: datapart.Rule{DataPart: "auto", Disk: "auto"}}, "the field repair is a string"},
		{"device: auto\nwipe: true\n", "", wishes{wipe: true, repair: true, owner: datapart.Rule{DataPart: "auto"}}, "wipe: true needs the name of a disk"},
		{"device: /dev/../etc/passwd\n", "", wishes{repair: true, owner: datapart.Rule{DataPart: "auto"}}, "neither auto nor the name"},
		{"device: /dev/\n", "", wishes{repair: true, owner: datapart.Rule{DataPart: "auto"}}, "neither auto nor the name"},
		{"", "kios.disk=", wishes{repair: true, owner: datapart.Rule{DataPart: "auto"}}, "kios.disk= is ignored"},
	}
	boot := gpt.GUID{1}
	for _, tt := range tests {
		tt.want.owner.Boot = boot
		var said bytes.Buffer
		dir := t.TempDir()
		s := &Service{Log: log.New(&said, "", 0), Settings: filepath.Join(dir, "disk.yaml"), Cmdline: filepath.Join(dir, "cmdline"), Boot: filepath.Join(dir, "boot")}
		for path, text := range map[string]string{s.Settings: tt.file, s.Cmdline: tt.cmdline, s.Boot: boot.String() + "\n"} {
			testlab.Must(t, os.WriteFile(path, []byte(text), 0o600))
		}
		got := s.wishes()
		if tt.log != "" {
			tt.want.serial, tt.want.wipe = got.serial, got.wipe // of no use without a device
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(wishes{}, datapart.BootPath{})); diff != "" {
			t.Errorf("%q, %q: (-want +got)\n%s", tt.file, tt.cmdline, diff)
		}
		if lines := strings.Count(said.String(), "\n"); tt.log == "" && lines != 0 || tt.log != "" && (lines != 1 || !strings.Contains(said.String(), tt.log)) {
			t.Errorf("%q, %q: the log is %q, want %q", tt.file, tt.cmdline, &said, tt.log)
		}
	}
}

func TestPartitionName(t *testing.T) {
	for disk, want := range map[string]string{"vda": "/dev/vda1", "nvme0n1": "/dev/nvme0n1p1", "mmcblk0": "/dev/mmcblk0p1", "sdaa": "/dev/sdaa1"} {
		if got := (&device{name: disk}).partition(1); got != want {
			t.Errorf("partition 1 of %s = %s, want %s", disk, got, want)
		}
	}
}

// TestLayout checks that a table's edges and the partition keep apart.
func TestLayout(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		for _, extra := range []int64{0, 4096, 16 << 10, 24 << 10, mib - 4096} {
			d := &device{name: "vda", size: 300*mib + extra, sectorSize: sector}
			l, err := newLayout(d)
			testlab.Must(t, err)
			if _, err := l.table([16]byte{1}).Patches(); err != nil {
				t.Errorf("%d bytes of sectors of %d: %v", d.size, sector, err)
			}
			if rest := d.size - l.end(); l.end()%mib != 0 || rest < 16<<10 || rest > mib+24<<10 {
				t.Errorf("%d bytes of sectors of %d: %d behind the partition", d.size, sector, rest)
			}
		}
	}
	if _, err := newLayout(&device{size: 255 * mib, sectorSize: 512}); err == nil {
		t.Error("255 MiB are enough")
	}
}

func TestFit(t *testing.T) {
	sb := &ext4.Superblock{BlockSize: 4096, BlocksPerGroup: 32768}
	for _, tt := range []struct{ groups, blocks, want uint64 }{{10, 0, 10 * 32768}, {10, 100, 10 * 32768}, {10, 5000, 10*32768 + 5000}} {
		if got := fit(sb, int64(tt.groups*32768+tt.blocks)*4096); got != tt.want {
			t.Errorf("fit of %d groups and %d blocks = %d, want %d", tt.groups, tt.blocks, got, tt.want)
		}
	}
}

func FuzzReadSuperblock(f *testing.F) {
	b := make([]byte, 2048)
	binary.LittleEndian.PutUint16(b[1024+0x38:], 0xef53)
	binary.LittleEndian.PutUint32(b[1024+0x20:], 32768)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		sb, err := readSuperblock(bytes.NewReader(b), 0)
		if err == nil {
			fit(sb, 1<<40)
		}
	})
}
