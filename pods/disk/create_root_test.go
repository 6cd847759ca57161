//go:build root

package disk

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/internal/gpt"
	testlab "kios/test/lab"
)

// statsOf returns what tools of others say of a file system's features.
func statsOf(t *testing.T, device string) string {
	t.Helper()
	return command(t, "debugfs", "-R", "stats -h", device)
}

func TestCreate(t *testing.T) {
	tests := []struct {
		name, disk, part, settings, cmdline string
		sectorSize                          int
	}{
		{"file", "vda", "/dev/vda1", "device: /dev/vda\n", "", 512},
		{"file, 4096", "nvme0n1", "/dev/nvme0n1p1", "device: /dev/nvme0n1\n", "", 4096},
		{"file, auto", "sda", "/dev/sda1", "device: auto\n", "", 512},
		{"command line", "vda", "/dev/vda1", "", "kios.disk=/dev/vda", 512},
		{"command line, auto", "mmcblk0", "/dev/mmcblk0p1", "", "quiet kios.disk=auto", 4096},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			d := l.disk(tt.disk, gib+77*mib+4096*5, tt.sectorSize)
			l.settings(tt.settings)
			l.write("cmdline", tt.cmdline)
			wantText(t, l.run(), "made the data partition "+tt.part+", 1.1 GiB")
			l.wantMove(tt.part)
			d.sound(1)
			if out := statsOf(t, d.part(1)); !strings.Contains(out, "kios-data") {
				t.Errorf("debugfs says:\n%s", out)
			}
			if out := command(t, "blkid", "-p", d.part(1)); !strings.Contains(out, `TYPE="ext4"`) || !strings.Contains(out, gpt.TypeKiosData.String()) {
				t.Errorf("blkid says:\n%s", out)
			}
			// The next run finds it, in use.
			l.show()
			unmount := l.inUse(d.part(1))
			wantText(t, l.run(), "no free space to grow into")
			unmount()
			l.wantMove()
		})
	}
}

// TestCreateGrows has a small disk grow as much as it may in practice.
func TestCreateGrows(t *testing.T) {
	needResize(t)
	l := newLab(t)
	d := l.disk("vda", 256*mib, 512)
	l.settings("device: auto\n")
	l.run()
	l.show()
	unmount := l.inUse(d.part(1))
	d.resize(256 * gib)
	wantText(t, l.run(), "grew from 254 MiB to 256.0 GiB")
	unmount()
	d.sound(1)
}

func TestNothingAsked(t *testing.T) {
	l := newLab(t)
	d := l.disk("vda", 256*mib, 512)
	before := d.sum()
	for _, tt := range []struct{ settings, cmdline, want string }{
		{"", "", "no data partition, and none is to be made"},
		{"repair: false\n", "", "no data partition, and none is to be made"},
		{"device: auto\n", "datapart=none", "datapart=none"},
		{"devcie: auto\n", "", `disk.yaml: there is no field "devcie": no data partition is made until this is corrected`},
		{"devcie: auto\n", "kios.disk=auto", `there is no field "devcie"`},
		{"device: [auto]\n", "", "disk.yaml: the field device is an array, but must be a string"},
		{"device: auto\nwipe: maybe\n", "", "disk.yaml: the field wipe is a string, but must be true or false"},
		{"device: auto\nwipe: true\n", "", "wipe: true needs the name of a disk in the field device, not auto"},
		{"wipe: true\n", "", "wipe and serial need the field device"},
		{"device: vda\n", "", `device: "vda" is neither auto nor the name of a disk`},
		{"device: /dev/disk/by-id/x\n", "", "there are no links"},
		{"", "kios.disk=vda", "kernel command line: kios.disk=vda is ignored"},
		{"device: /dev/vda\nserial: abc\n", "", `/dev/vda: has the serial number "", not "abc"`},
		{"device: /dev/vdb1\n", "datapart=/dev/vda9", "/dev/vdb1 did not appear within"},
	} {
		t.Run(tt.settings+tt.cmdline, func(t *testing.T) {
			if strings.Contains(tt.want, "appear") && testing.Short() {
				t.Skip("takes 30 seconds")
			}
			l.settings(tt.settings)
			l.write("cmdline", tt.cmdline)
			wantText(t, l.run(), tt.want)
		})
	}
	l.wantMove()
	if d.sum() != before {
		t.Error("the disk has changed")
	}
}

// owned are disks of users, written by real tools.
var owned = []struct {
	name  string
	make  func(t *testing.T, d *disk)
	found string
}{
	{"NTFS", func(t *testing.T, d *disk) { command(t, "mkntfs", "-q", "-F", "-f", "-L", "Holiday", d.loop) }, `an NTFS file system "Holiday"`},
	{"LVM", func(t *testing.T, d *disk) {
		command(t, "pvcreate", "-q", "-y", "--config", "devices{use_devicesfile=0} global{use_lvmlockd=0}", d.loop)
	}, "an LVM2 physical volume"},
	{"LUKS", func(t *testing.T, d *disk) {
		command(t, "sh", "-c", "printf secret | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "+d.loop+" -")
	}, "a LUKS encrypted volume"},
	{"GPT", func(t *testing.T, d *disk) {
		command(t, "sgdisk", "--new=1:0:+10M", "--change-name=1:boot", "--new=2:0:0", "--change-name=2:my data", d.loop)
		command(t, "partx", "--update", d.loop)
	}, `a GPT with 2 partitions: 1 "boot" 10 MiB, 2 "my data" 2`},
	{"GPT without partitions", func(t *testing.T, d *disk) { command(t, "sgdisk", "--clear", d.loop) }, "a GPT without partitions"},
	{"MBR", func(t *testing.T, d *disk) { sfdisk(t, d, "label: dos\nsize=50MiB\nsize=60MiB\n") }, "an MBR with 2 partitions"},
	{"ext4", func(t *testing.T, d *disk) { command(t, "mke2fs", "-q", "-F", "-t", "ext4", "-L", "home", d.loop) }, `an ext4 file system "home"`},
	{"swap", func(t *testing.T, d *disk) { command(t, "mkswap", "-q", d.loop) }, "swap space"},
	{"backup GPT alone", func(t *testing.T, d *disk) {
		command(t, "sgdisk", "--new=1:0:+10M", d.loop)
		poke(t, d, make([]byte, mib), 0)
	}, "a GPT with 1 partition: 1 10 MiB"},
	{"lost partition table", func(t *testing.T, d *disk) {
		sfdisk(t, d, "label: dos\nstart=2048\n")
		command(t, "mkntfs", "-q", "-F", "-f", d.part(1))
		command(t, "partx", "--delete", d.loop)
		poke(t, d, make([]byte, 4096), 0)
	}, "an NTFS file system at 1 MiB, perhaps a partition whose table is lost"},
	{"noise at the start", func(t *testing.T, d *disk) { poke(t, d, []byte{1}, 300<<10) }, "data of an unknown kind in its first MiB"},
	{"noise at the end", func(t *testing.T, d *disk) { poke(t, d, []byte{1}, 256*mib-1) }, "data of an unknown kind in its last MiB"},
}

// poke writes bytes to a place of a disk.
func poke(t *testing.T, d *disk, b []byte, at int64) {
	t.Helper()
	f, err := os.OpenFile(d.loop, os.O_RDWR, 0)
	testlab.Must(t, err)
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	testlab.Must(t, f.Sync())
}

// TestRefuse shows that a disk with anything on it is not changed by a byte, and
// that wipe: true is understood.
func TestRefuse(t *testing.T) {
	for _, tt := range owned {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			d := l.disk("vdb", 256*mib, 512)
			tt.make(t, d)
			before := d.sum()
			l.settings("device: /dev/vdb\n")
			wantText(t, l.run(), "no data partition is made: /dev/vdb is not blank but holds "+tt.found)
			l.settings("device: auto\n")
			wantText(t, l.run(), "none is blank (/dev/vdb: holds "+tt.found)
			l.settings("device: auto\nwipe: true\n")
			l.run()
			l.settings("device: /dev/vdb\nwipe: true\n")
			l.write("cmdline", "kios.disk=/dev/vdb") // which wipe was not said of
			wantText(t, l.run(), "is not blank")
			if d.sum() != before {
				t.Fatal("the disk has changed")
			}
			l.wantMove()

			l.write("cmdline", "")
			log := l.run()
			wantText(t, log, "wiping /dev/vdb, which holds "+tt.found)
			wantText(t, log, "made the data partition /dev/vdb1")
			l.wantMove("/dev/vdb1")
			d.sound(1)
			if out := strings.TrimSpace(command(t, "wipefs", "--no-act", "--noheadings", "--output", "TYPE", d.loop)); out != "gpt\ngpt\nPMBR" {
				t.Errorf("on the disk there is:\n%s", out)
			}
		})
	}
}

// TestRefuseDataPartition shows that wipe: true does not mean data partitions.
func TestRefuseDataPartition(t *testing.T) {
	l := newLab(t)
	d := l.disk("vda", 256*mib, 512)
	l.settings("device: auto\n")
	l.run()
	l.show()
	unmount := l.inUse(d.part(1))
	unmount()
	l.data = l.path("none")
	l.moved()
	l.settings("device: /dev/vda\nwipe: true\n")
	wantText(t, l.run(), "the node moves onto the data partition /dev/vda1")
	l.wantMove("/dev/vda1")

	// Now its table is lost.
	command(t, "partx", "--delete", d.loop)
	poke(t, d, make([]byte, mib), 0)
	poke(t, d, make([]byte, mib), 255*mib)
	os.RemoveAll(l.path("sys/block/vda/vda1"))
	before := d.sum()
	wantText(t, l.run(), "/dev/vda holds the file system of a kiOS data partition at 1 MiB, whose partition table is lost: a data partition is not wiped")
	l.settings("device: auto\n")
	wantText(t, l.run(), "whose partition table is lost")
	if d.sum() != before {
		t.Error("the disk has changed")
	}
	l.wantMove()
}

func TestRefuseInUse(t *testing.T) {
	l := newLab(t)
	d := l.disk("vdb", 256*mib, 512)
	command(t, "mke2fs", "-q", "-F", "-t", "ext4", d.loop)
	l.mount(d.loop)
	l.settings("device: /dev/vdb\nwipe: true\n")
	wantText(t, l.run(), "no data partition is made: /dev/vdb: it is in use (mounted, or swap space)")
	command(t, "e2fsck", "-n", d.loop)
}

func TestRefuseInUsePartition(t *testing.T) {
	l := newLab(t)
	d := l.disk("vdb", 256*mib, 512)
	sfdisk(t, d, "label: gpt\nsize=100MiB\n")
	command(t, "mke2fs", "-q", "-t", "ext4", d.part(1))
	l.mount(d.part(1))
	l.settings("device: /dev/vdb\nwipe: true\n")
	wantText(t, l.run(), "/dev/vdb: it is in use")
	l.settings("device: /dev/vdb1\nwipe: true\n")
	wantText(t, l.run(), "/dev/vdb1: is a partition; name the whole disk, /dev/vdb")
}

func TestRefuseSmall(t *testing.T) {
	l := newLab(t)
	l.disk("vda", 100*mib, 512)
	l.settings("device: /dev/vda\n")
	wantText(t, l.run(), "/dev/vda: its size of 100 MiB is too small: a data partition needs at least 256 MiB")
}

func TestAuto(t *testing.T) {
	l := newLab(t)
	l.settings("device: auto\n")
	var disks []*disk
	for _, name := range []string{"vda", "vdb", "vdc", "sr0", "sda"} {
		disks = append(disks, l.disk(name, 256*mib, 512))
	}
	for name, bus := range map[string]string{"loop7": "virtual", "dm-0": "virtual", "sdb": "pci0000:00/usb1/1-1/host1", "sdc": "platform/host2/session1"} {
		disks = append(disks, l.diskAt(bus, name, 256*mib, 512))
	}
	command(t, "mkntfs", "-q", "-F", "-f", disks[0].loop)
	l.write("sys/block/sda/removable", "1")

	var before []string
	for _, d := range disks {
		before = append(before, d.sum())
	}
	wantText(t, l.run(), "several are blank: name one of /dev/vdb, /dev/vdc in the field device")
	command(t, "mkswap", "-q", disks[2].loop)
	before[2] = disks[2].sum()
	wantText(t, l.run(), "made the data partition /dev/vdb1")
	l.wantMove("/dev/vdb1")
	disks[1].sound(1)
	before[1] = disks[1].sum()
	var after []string
	for _, d := range disks {
		after = append(after, d.sum())
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("another disk has changed: %s", diff)
	}
}

// What pods have written to their disks decides nothing: a disk with the type of a data
// partition is used if the machine booted from it, or if the owner wants one there and
// there is no other.
func TestDisksOfPods(t *testing.T) {
	l := newLab(t)
	l.dataDisk("vdb", 256*mib, 512)
	l.write("boot", gpt.GUID{}.String()+"\n")
	wantText(t, l.run(), "/dev/vdb2 (PARTUUID=")
	l.wantMove()
	l.settings("device: auto\n")
	l.run()
	l.wantMove("/dev/vdb2") // the owner says that all disks are the node's
	l.dataDisk("vda", 256*mib, 512)
	l.run()
	l.wantMove("/dev/vda2") // from which the machine booted
	l.write("boot", gpt.GUID{}.String()+"\n")
	wantText(t, l.run(), "no data partition is used or made: each of /dev/vda2 (PARTUUID=")
	l.settings("device: /dev/vdb\n")
	l.run()
	l.wantMove("/dev/vdb2")
}

// Only the kernel command line can choose a disk that is no part of the machine: PID 1
// would not move onto another.
func TestDiskBehindUSB(t *testing.T) {
	l := newLab(t)
	l.diskAt("pci0000:00/usb1/1-1/host1", "sdb", 256*mib, 512)
	l.settings("device: /dev/sdb\n")
	wantText(t, l.run(), "/dev/sdb is behind USB: such a disk takes a data partition only if kios.disk=/dev/sdb on the kernel command line names it")
	l.wantMove()
	l.write("cmdline", "kios.disk=/dev/sdb datapart=/dev/sda1")
	wantText(t, l.run(), "datapart=/dev/sda1 on the kernel command line names another data partition than /dev/sdb1")
	l.wantMove()
	l.write("cmdline", "kios.disk=/dev/sdb")
	wantText(t, l.run(), "made the data partition /dev/sdb1")
	l.wantMove("/dev/sdb1")
}

// TestAutoDamaged does not take a blank disk while another has a data partition
// that is only damaged.
func TestAutoDamaged(t *testing.T) {
	l := newLab(t)
	d := l.dataDisk("vda", 256*mib, 512)
	blank := l.disk("vdb", 256*mib, 512)
	command(t, "partx", "--delete", d.loop)
	poke(t, d, []byte{0}, 512) // the primary table
	l.settings("device: auto\n")
	before := blank.sum()
	wantText(t, l.run(), "/dev/vdb is blank, but another disk may have a data partition (disk vda: the kernel does not show partition 2")
	if blank.sum() != before {
		t.Error("the blank disk has changed")
	}
}

// TestCreatePowerCut begins with what a power cut may leave: mke2fs had written
// some of its blocks, in any order, or the table was written up to a sector.
func TestCreatePowerCut(t *testing.T) {
	const length = 256 * mib
	l := newLab(t)
	d := l.disk("vda", length, 512)
	l.settings("device: auto\n")
	l.run()
	command(t, "partx", "--delete", d.loop)
	whole, err := os.ReadFile(d.image)
	testlab.Must(t, err)
	for _, c := range append(fsCuts(whole), tableCuts(t, whole)...) {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			d := l.disk("vda", length, 512)
			for _, b := range c.blocks {
				poke(t, d, whole[b.at:b.at+b.length], b.at)
			}
			l.settings(c.settings)
			log := l.run()
			wantText(t, log, "made the data partition /dev/vda1")
			l.wantMove("/dev/vda1")
			d.sound(1)
			if uuid := command(t, "blkid", "-p", "-s", "UUID", d.part(1)); c.keeps != strings.Contains(uuid, uuidOf(whole)) {
				t.Errorf("file system %s, was %s: kept it? want %v", uuid, uuidOf(whole), c.keeps)
			}
		})
	}
}

func uuidOf(whole []byte) string { return formatUUID([16]byte(whole[mib+1024+0x68:])) }

type extent struct{ at, length int64 }

type cut struct {
	name     string
	blocks   []extent // that are on the disk
	settings string
	keeps    bool // the file system
}

// fsCuts has some of mke2fs's blocks and nothing of the table.
func fsCuts(whole []byte) (cuts []cut) {
	var blocks []extent
	for at := int64(mib); at < 255*mib; at += 4096 {
		if !zero(whole[at : at+4096]) {
			blocks = append(blocks, extent{at, 4096})
		}
	}
	for _, part := range []int{0, 1, len(blocks) / 2, len(blocks)} {
		cuts = append(cuts,
			cut{fmt.Sprintf("first %d blocks of mke2fs", part), blocks[:part], "device: auto\n", false},
			cut{fmt.Sprintf("last %d blocks of mke2fs", part), blocks[len(blocks)-part:], "device: /dev/vda\n", false})
	}
	return cuts
}

// tableCuts has the whole file system and the table up to a sector, in the order
// in which it is written.
func tableCuts(t *testing.T, whole []byte) (cuts []cut) {
	l := &layout{sectorSize: 512, sectors: uint64(len(whole) / 512), lastLBA: 255*2048 - 1}
	patches, err := l.table([16]byte(whole[mib+1024+0x68:])).Patches()
	testlab.Must(t, err)
	sofar := []extent{{mib, 254 * mib}}
	n := 0
	for _, p := range patches {
		for i := range len(p.Data) / 512 {
			at := int64(p.LBA)*512 + int64(i)*512
			sofar = append(sofar, extent{at, 512})
			if n++; !zero(whole[at : at+512]) {
				cuts = append(cuts, cut{fmt.Sprintf("%d sectors of the table", n), append([]extent(nil), sofar...), "device: auto\n", true})
			}
		}
	}
	return cuts
}

// TestWipePowerCut is cut while it wipes.
func TestWipePowerCut(t *testing.T) {
	for _, n := range []int64{0, 512, 4096, mib, 2 * mib} {
		l := newLab(t)
		d := l.disk("vda", 256*mib, 512)
		sfdisk(t, d, "label: gpt\nsize=100MiB\n")
		command(t, "mkntfs", "-q", "-F", "-f", d.part(1))
		command(t, "partx", "--delete", d.loop)
		poke(t, d, make([]byte, n), 0)
		l.settings("device: /dev/vda\nwipe: true\n")
		wantText(t, l.run(), "made the data partition /dev/vda1")
		d.sound(1)
	}
}

// broken makes a data partition with wrong counts, which -p corrects, and with
// the flag that keeps PID 1 from mounting it.
func broken(l *lab) *disk {
	d := l.dataDisk("vda", 256*mib, 512)
	command(l.t, "debugfs", "-w", "-R", "set_super_value free_blocks_count 17", d.part(2))
	command(l.t, "debugfs", "-w", "-R", "set_super_value state 2", d.part(2))
	return d
}

func TestRepair(t *testing.T) {
	for _, tt := range repairs {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newLab(t)) })
	}
}

var repairs = []struct {
	name string
	test func(*testing.T, *lab)
}{
	{"corrected", func(t *testing.T, l *lab) {
		d := broken(l)
		log := l.run()
		wantText(t, log, "the data partition /dev/vda2 was repaired: KIOS-DATA contains a file system with errors, check forced. KIOS-DATA: 1")
		// 11 files, or 12 where mke2fs makes one for orphans.
		if !strings.Contains(log, "KIOS-DATA: 11/") && !strings.Contains(log, "KIOS-DATA: 12/") {
			t.Errorf("the log does not say how many files there are:\n%s", log)
		}
		l.wantMove("/dev/vda2")
		d.sound(2)
	}},
	{"turned off", func(t *testing.T, l *lab) {
		d := broken(l)
		before := d.sum()
		l.settings("repair: false\n")
		l.run()
		l.wantMove("/dev/vda2")
		if d.sum() != before {
			t.Error("the disk has changed")
		}
	}},
	{"with garbage in the file", func(t *testing.T, l *lab) {
		broken(l)
		l.settings("\x00\x01")
		wantText(t, l.run(), "was repaired")
		l.wantMove("/dev/vda2")
	}},
	{"sound", func(_ *testing.T, l *lab) {
		l.dataDisk("vda", 256*mib, 512)
		l.run()
		l.wantMove("/dev/vda2")
	}},
	{"by name", func(t *testing.T, l *lab) {
		d := l.disk("vdb", 256*mib, 512)
		command(t, "mke2fs", "-q", "-F", "-t", "ext4", d.loop)
		l.write("cmdline", "datapart=/dev/vdb")
		l.run()
		l.wantMove("/dev/vdb")
	}},
	{"not safe", func(t *testing.T, l *lab) {
		d := l.dataDisk("vda", 256*mib, 512)
		// Two files that claim the same block.
		for _, cmd := range []string{"write " + l.path("cmdline") + " a", "write " + l.path("cmdline") + " b", "set_inode_field b block[0] 0", "copy_inode a b"} {
			_ = exec.Command("debugfs", "-w", "-R", cmd, d.part(2)).Run()
		}
		command(t, "debugfs", "-w", "-R", "set_super_value state 2", d.part(2))
		log := l.run()
		wantText(t, log, "cannot be repaired automatically, and the node stays in memory: e2fsck -p ended with 4")
		if n := strings.Count(log, "\n"); n != 2 { // one, and one of the test's own
			t.Errorf("%d lines", n)
		}
		l.wantMove()
	}},
	{"no ext4", func(t *testing.T, l *lab) {
		d := l.dataDisk("vda", 256*mib, 512)
		command(t, "mkntfs", "-q", "-F", "-f", d.part(2))
		before := d.sum()
		wantText(t, l.run(), "e2fsck -p ended with 8")
		if d.sum() != before {
			t.Error("the disk has changed")
		}
		l.wantMove()
	}},
	{"in use", func(t *testing.T, l *lab) {
		d := l.dataDisk("vda", 256*mib, 512)
		l.mount(d.part(2))
		wantText(t, l.run(), "the data partition /dev/vda2 is left alone: it is in use")
		l.wantMove()
	}},
	{"PID 1 is not there", func(t *testing.T, l *lab) {
		l.dataDisk("vda", 256*mib, 512)
		os.Remove(l.path("control"))
		if out, code := l.runCode(); code == 0 {
			t.Errorf("the service ended with 0:\n%s", out)
		}
	}},
}
