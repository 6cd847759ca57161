package datapart

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kios/internal/gpt"
	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// pci is where a disk hangs unless a test says otherwise.
const pci = "pci0000:00/0000:00:05.0"

// machine is a System of files.
func machine(t *testing.T) System {
	t.Helper()
	dir := t.TempDir()
	s := System{Sys: filepath.Join(dir, "sys"), Dev: filepath.Join(dir, "dev")}
	for _, dir := range []string{s.Dev, filepath.Join(s.Sys, "block"), filepath.Join(s.Sys, "devices")} {
		lab.Must(t, os.MkdirAll(dir, 0o755))
	}
	s.open = func(path string) (disk, error) { return os.Open(path) }
	return s
}

func (s System) write(t *testing.T, file, text string) {
	t.Helper()
	lab.WriteFile(t, filepath.Join(s.Sys, file), text)
}

// part is a partition of a test: its type, and its GUID's first byte.
type part struct {
	typ gpt.GUID
	id  byte
}

// addDisk makes a disk below a bus.
func (s System) addDisk(t *testing.T, bus, disk string, sectorSize int64, parts ...part) {
	t.Helper()
	const sectors = 8192
	dir := filepath.Join("devices", bus, "block", disk)
	s.write(t, dir+"/size", strconv.FormatInt(sectors*sectorSize/512, 10)+"\n")
	s.write(t, dir+"/queue/logical_block_size", strconv.FormatInt(sectorSize, 10)+"\n")
	lab.Must(t, os.Symlink(filepath.Join("..", dir), filepath.Join(s.Sys, "block", disk)))
	f, err := os.Create(filepath.Join(s.Dev, disk))
	lab.Must(t, err)
	defer f.Close()
	lab.Must(t, f.Truncate(sectors*sectorSize))
	table := &gpt.Table{SectorSize: sectorSize, Sectors: sectors, DiskGUID: gpt.GUID{1}}
	for i, p := range parts {
		n := strconv.Itoa(i + 1)
		name := disk + n
		if last := disk[len(disk)-1]; '0' <= last && last <= '9' {
			name = disk + "p" + n
		}
		s.write(t, dir+"/"+name+"/partition", n+"\n")
		first := uint64(1024 * (i + 1))
		table.Partitions = append(table.Partitions, gpt.Partition{Number: i + 1, Type: p.typ, GUID: gpt.GUID{p.id}, FirstLBA: first, LastLBA: first + 1023})
	}
	lab.Must(t, gpt.Write(f, table))
}

var (
	esp  = gpt.MustParseGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	data = gpt.TypeKiosData
	auto = Rule{DataPart: Auto}
)

// waits calls a function for each wait instead of waiting.
type waits func()

func (w waits) Wait(time.Duration) { w() }

func uuid(id byte) string { return partUUID + gpt.GUID{id}.String() }

// Of several disks with a data partition, only one that the machine booted from
// counts, or one that its owner names.
func TestFind(t *testing.T) {
	s := machine(t)
	s.addDisk(t, pci, "vda", 512, part{data, 1})
	s.addDisk(t, pci, "vdb", 512, part{esp, 11}, part{data, 12})
	s.addDisk(t, pci, "nvme0n1", 4096, part{data, 31})
	s.addDisk(t, pci, "vdc", 512, part{esp, 41})
	s.addDisk(t, pci+"/usb1/1-1", "sdu", 512, part{data, 51})
	s.write(t, "block/vda/queue/logical_block_size", "0\n") // as of a broken driver
	for _, tt := range []struct {
		name    string
		rule    Rule
		want    string
		ignored int
		err     string // part of it
	}{
		{"boot disk", Rule{DataPart: Auto, Boot: gpt.GUID{11}}, "vdb2", 3, ""},
		{"boot disk before the owner's", Rule{DataPart: Auto, Boot: gpt.GUID{11}, Disk: "/dev/vda"}, "vdb2", 3, ""},
		{"boot disk without one", Rule{DataPart: Auto, Boot: gpt.GUID{41}}, "", 4, ""},
		{"boot disk without one, the owner's", Rule{DataPart: Auto, Boot: gpt.GUID{41}, Disk: "/dev/nvme0n1"}, "nvme0n1p1", 3, ""},
		{"boot disk that is not there", Rule{DataPart: Auto, Boot: gpt.GUID{99}}, "", 4, ""},
		{"no boot disk", auto, "", 4, ""},
		{"no boot disk, the owner's", Rule{DataPart: Auto, Disk: "/dev/vda"}, "vda1", 3, ""},
		{"no boot disk, any", Rule{DataPart: Auto, Disk: Auto}, "", 0, "could be the data partition: name one"},
		{"behind USB, named", Rule{DataPart: Auto, Disk: "/dev/sdu"}, "sdu1", 3, ""},
		{"behind USB, by GUID", Rule{DataPart: uuid(51)}, "sdu1", 0, ""},
		{"by GUID", Rule{DataPart: uuid(31), Boot: gpt.GUID{11}}, "nvme0n1p1", 0, ""},
		{"by the GUID of none", Rule{DataPart: uuid(77)}, "", 0, "no disk has the partition PARTUUID=0000004d-"},
		{"none", Rule{DataPart: None, Boot: gpt.GUID{11}}, "", 0, ""},
	} {
		found, _, err := s.Look(tt.rule)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.err)
		}
		if err == nil && (strings.TrimPrefix(found.Device, s.Dev+"/") != tt.want || len(found.Ignored) != tt.ignored) {
			t.Errorf("%s: found %q and ignored %v, want %q and %d", tt.name, found.Device, found.Ignored, tt.want, tt.ignored)
		}
	}
}

// Copies of GUIDs, which whoever writes to a disk can make, decide nothing.
func TestCopiesAreRefused(t *testing.T) {
	s := machine(t)
	s.addDisk(t, pci, "vda", 512, part{esp, 1}, part{data, 2})
	s.addDisk(t, pci, "vdb", 512, part{esp, 1}, part{data, 2})
	for _, r := range []Rule{{DataPart: Auto, Boot: gpt.GUID{1}}, {DataPart: uuid(2)}, {DataPart: Auto, Disk: Auto}} {
		if found, _, err := s.Look(r); err == nil {
			t.Errorf("%+v finds %q, want an error", r, found.Device)
		}
	}
	s = machine(t)
	s.addDisk(t, pci, "vda", 512, part{esp, 1}, part{data, 2}, part{data, 3})
	if _, _, err := s.Look(Rule{DataPart: Auto, Boot: gpt.GUID{1}}); err == nil || !strings.Contains(err.Error(), "/dev/vda2 (PARTUUID=00000002-") || !strings.Contains(err.Error(), "/dev/vda3") {
		t.Errorf("two on the boot disk: %v, want both named", err)
	}
}

// kinds are disks by where sysfs has them, and whether they are a fixed part of the
// machine. Not even a name makes those count that are not attached to it.
var kinds = []struct {
	bus, disk    string
	more         map[string]string // files below sysfs
	fixed, local bool
}{
	{pci + "/virtio1", "vdz", nil, true, true},
	{"platform/LNRO0005:00/virtio0", "vdz", nil, true, true},
	{"virtio-mmio-cmdline/virtio-mmio.0/virtio0", "vdz", nil, true, true},
	{"LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00/f8b3781a/host0/target0:0:0/0:0:0:0", "sdz", nil, true, true},
	{pci + "/ata1/host0/target0:0:0/0:0:0:0", "sdz", nil, true, true},
	{pci + "/nvme/nvme0", "nvme0n1", map[string]string{"devices/" + pci + "/nvme/nvme0/transport": "pcie\n"}, true, true},
	{"vbd-51712", "xvdz", nil, true, true},
	{pci + "/mmc_host/mmc0/mmc0:0001", "mmcblk0", nil, true, true},
	{pci + "/mmc_host/mmc0/mmc0:0001", "mmcblk0boot0", nil, false, false},
	{pci + "/usb2/2-1/2-1:1.0/host3/target3:0:0/3:0:0:0", "sdz", nil, false, true},
	{pci, "sdz", map[string]string{"block/sdz/removable": "1\n"}, false, true},
	{pci, "nvme0n1", map[string]string{"devices/" + pci + "/removable": "removable\n"}, false, true},
	{pci, "mmcblk0", map[string]string{"block/mmcblk0/device/type": "SD\n"}, false, true},
	{pci, "nvme0c0n1", map[string]string{"block/nvme0c0n1/hidden": "1\n"}, false, false},
	{"platform/host2/session1/target2:0:0/2:0:0:1", "sdz", nil, false, false},
	{pci + "/host2/rport-2:0-0/target2:0:0/2:0:0:0", "sdz", nil, false, false},
	{"virtual", "loop0", nil, false, false},
	{"virtual", "nbd0", nil, false, false},
	{"virtual", "dm-0", nil, false, false},
	{"virtual", "md0", nil, false, false},
	{"virtual", "zram0", nil, false, false},
	{"rbd/0", "rbd0", nil, false, false},
	{"pseudo_0/adapter0/host0/target0:0:0/0:0:0:0", "sdz", nil, false, false},
	{pci, "sr0", nil, false, false},
}

func TestKinds(t *testing.T) {
	for _, tt := range kinds {
		s := machine(t)
		s.addDisk(t, tt.bus, tt.disk, 512, part{data, 1})
		for file, text := range tt.more {
			s.write(t, file, text)
		}
		if err := s.Fixed(tt.disk); (err == nil) != tt.fixed {
			t.Errorf("%s at %s: %v, want fixed %v", tt.disk, tt.bus, err, tt.fixed)
		}
		for _, r := range []struct {
			rule Rule
			want bool
		}{
			{Rule{DataPart: Auto, Disk: Auto}, tt.fixed},
			{Rule{DataPart: Auto, Disk: "/dev/" + tt.disk}, tt.local},
			{Rule{DataPart: Auto, Boot: gpt.GUID{1}}, tt.local},
			{Rule{DataPart: uuid(1)}, tt.local},
		} {
			if found, _, _ := s.Look(r.rule); (found.Device != "") != r.want {
				t.Errorf("%s at %s: %+v finds %q, want found %v", tt.disk, tt.bus, r.rule, found.Device, r.want)
			}
		}
	}
}

// An NVMe namespace that several controllers may have is fixed if all are on PCIe.
func TestNVMeSubsystem(t *testing.T) {
	for transport, want := range map[string]bool{"pcie": true, "tcp": false, "": false} {
		s := machine(t)
		const subsystem = "devices/virtual/nvme-subsystem/nvme-subsys0"
		s.write(t, subsystem+"/nvme0n1/size", "2048\n")
		lab.Must(t, os.Symlink(filepath.Join("..", subsystem, "nvme0n1"), filepath.Join(s.Sys, "block/nvme0n1")))
		if transport != "" {
			s.write(t, "devices/"+pci+"/nvme/nvme0/transport", transport+"\n")
			lab.Must(t, os.Symlink(filepath.Join(s.Sys, "devices", pci, "nvme/nvme0"), filepath.Join(s.Sys, subsystem, "nvme0")))
		}
		if err := s.Fixed("nvme0n1"); (err == nil) != want {
			t.Errorf("transport %q: %v, want fixed %v", transport, err, want)
		}
	}
}

func TestProblems(t *testing.T) {
	s := machine(t)
	s.addDisk(t, pci, "vda", 512, part{esp, 1}, part{data, 2})
	s.addDisk(t, pci, "vdb", 512)
	os.Remove(filepath.Join(s.Dev, "vdb")) // has no node
	s.addDisk(t, pci, "vdc", 512, part{data, 3})
	os.RemoveAll(filepath.Join(s.Sys, "devices", pci, "block/vdc/vdc1"))
	found, _, err := s.Look(Rule{DataPart: Auto, Boot: gpt.GUID{1}})
	if err != nil || filepath.Base(found.Device) != "vda2" || len(found.Problems) != 2 || found.Problems[0].Disk != "vdb" ||
		!strings.Contains(found.Problems[1].Error(), "disk vdc: the kernel does not show partition 1") {
		t.Errorf("found %+v, %v", found, err)
	}
	// What cannot be read may be the disk that is meant.
	os.Remove(filepath.Join(s.Sys, "block/vdc"))
	if found, _, err := s.Look(Rule{DataPart: Auto, Disk: Auto}); err == nil || !strings.Contains(err.Error(), "disk vdb: ") {
		t.Errorf("any disk: found %+v, %v, want an error that names vdb", found, err)
	}
}

// hung is a disk that answers when the test is over.
type hung struct {
	disk
	over chan struct{}
}

func (h hung) ReadAt([]byte, int64) (int, error) {
	<-h.over
	return 0, io.EOF
}

// Disks that hang hold nobody up for longer than one of them may.
func TestHungDisks(t *testing.T) {
	s := machine(t)
	s.addDisk(t, pci, "vda", 512)
	s.addDisk(t, pci, "vdb", 512)
	s.addDisk(t, pci, "vdc", 512, part{esp, 1}, part{data, 2})
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		s.open = func(path string) (disk, error) {
			f, err := os.Open(path)
			if filepath.Base(path) != "vdc" {
				return hung{f, over}, err
			}
			return f, err
		}
		start := time.Now()
		found, _, err := s.Look(Rule{DataPart: Auto, Boot: gpt.GUID{1}})
		if took := time.Since(start); err != nil || filepath.Base(found.Device) != "vdc2" || len(found.Problems) != 2 || took != diskBound {
			t.Errorf("found %+v, %v after %v", found, err, took)
		}
		close(over)
	})
}

func TestFindWaitsForLateDisk(t *testing.T) {
	for _, r := range []Rule{{DataPart: Auto, Boot: gpt.GUID{1}}, {DataPart: Auto, Disk: Auto}, {DataPart: uuid(2)}} {
		s := machine(t)
		s.write(t, "class/nvme/nvme0/state", "connecting\n")
		count := 0
		found, err := s.Find(r, waits(func() {
			if count++; count == 3 {
				s.write(t, "class/nvme/nvme0/state", "live\n")
				s.addDisk(t, pci, "nvme0n1", 512, part{esp, 1}, part{data, 2})
			}
		}))
		if err != nil || filepath.Base(found.Device) != "nvme0n1p2" || count != 3 {
			t.Errorf("%+v: %+v, %v after %d waits", r, found, err, count)
		}
	}
}

// broken is a disk that cannot be read.
type broken struct{ disk }

func (broken) ReadAt([]byte, int64) (int, error) { return 0, unix.EIO }

// panics is a disk whose contents show a bug of whoever reads it.
type panics struct{ disk }

func (panics) ReadAt([]byte, int64) (int, error) { panic("index out of range") }

// opens has reads of one disk go through another.
func (s *System) opens(name string, as func(disk) disk) {
	s.open = func(path string) (disk, error) {
		f, err := os.Open(path)
		if filepath.Base(path) == name {
			return as(f), err
		}
		return f, err
	}
}

// A disk whose table makes the reader panic costs itself.
func TestPanicOfAReader(t *testing.T) {
	s := machine(t)
	s.addDisk(t, pci, "vda", 512, part{esp, 1}, part{data, 2})
	s.addDisk(t, pci, "vdb", 512)
	s.opens("vdb", func(d disk) disk { return panics{d} })
	found, _, err := s.Look(Rule{DataPart: Auto, Boot: gpt.GUID{1}})
	if err != nil || filepath.Base(found.Device) != "vda2" || len(found.Problems) != 1 || !strings.Contains(found.Problems[0].Error(), "disk vdb: read its table: panic: index out of range") {
		t.Errorf("found %+v, %v", found, err)
	}
}

// bootAt is the path of a test's boot disk, and other is another slot.
var bootAt = BootPath{slots: []string{"04.0"}}

const (
	bootSlot = "pci0000:00/0000:00:04.0"
	other    = "pci0000:00/0000:00:09.0"
)

// rulesOfBoot are those of which the disk that was booted is meant, if it comes.
var rulesOfBoot = map[string]Rule{
	"auto":                 {DataPart: Auto, Boot: gpt.GUID{1}, Path: bootAt},
	"by GUID":              {DataPart: uuid(2), Boot: gpt.GUID{1}, Path: bootAt},
	"by GUID, no boot":     {DataPart: uuid(2), Path: bootAt},
	"without a path":       {DataPart: Auto, Boot: gpt.GUID{1}},
	"the owner's disk":     {DataPart: Auto, Boot: gpt.GUID{1}, Path: bootAt, Disk: "/dev/vdb"},
	"any disk":             {DataPart: Auto, Boot: gpt.GUID{1}, Path: bootAt, Disk: Auto},
	"any, without a path":  {DataPart: Auto, Boot: gpt.GUID{1}, Disk: Auto},
	"by GUID, no path too": {DataPart: uuid(2)},
}

// A copy of the disk that was booted does not become the data partition because the
// original is late. Without a path the two are refused when both are there.
func TestCopyIsQuicker(t *testing.T) {
	for name, r := range rulesOfBoot {
		s := machine(t)
		s.addDisk(t, other, "vdb", 512, part{esp, 1}, part{data, 2})
		s.write(t, "class/nvme/nvme0/state", "connecting\n")
		count := 0
		found, err := s.Find(r, waits(func() {
			if count++; count == 3 {
				s.write(t, "class/nvme/nvme0/state", "live\n")
				s.write(t, "class/nvme/nvme0/nvme0n1/size", "0\n")
				s.addDisk(t, bootSlot, "nvme0n1", 512, part{esp, 1}, part{data, 2})
			}
		}))
		if r.Path.known() && (err != nil || filepath.Base(found.Device) != "nvme0n1p2") || !r.Path.known() && err == nil || count != 3 {
			t.Errorf("%s: found %q, %v after %d waits", name, found.Device, err, count)
		}
	}
}

// Another disk with a data partition is the owner's second choice.
func TestOwnersDiskIsQuicker(t *testing.T) {
	for _, r := range rulesOfBoot {
		if r.Disk == "" {
			continue
		}
		s := machine(t)
		s.addDisk(t, other, "vdb", 512, part{esp, 7}, part{data, 8})
		s.write(t, "class/nvme/nvme0/state", "connecting\n")
		found, err := s.Find(r, waits(func() {
			s.write(t, "class/nvme/nvme0/state", "dead\n")
		}))
		if err != nil || filepath.Base(found.Device) != "vdb2" {
			t.Errorf("%+v, and no disk comes: %+v, %v", r, found, err)
		}
		s.write(t, "class/nvme/nvme0/state", "connecting\n")
		found, err = s.Find(r, waits(func() {
			s.write(t, "class/nvme/nvme0/state", "live\n")
			s.write(t, "class/nvme/nvme0/nvme0n1/size", "0\n")
			s.addDisk(t, bootSlot, "nvme0n1", 512, part{esp, 1}, part{data, 2})
		}))
		if err != nil || filepath.Base(found.Device) != "nvme0n1p2" {
			t.Errorf("%+v: %+v, %v", r, found, err)
		}
	}
}

// A copy is refused while the disk that was booted is missing, or cannot be read. What
// asks for a move does not get it either.
func TestCopyOfAMissingDisk(t *testing.T) {
	for name, r := range rulesOfBoot {
		if !r.Path.known() {
			continue // the GUID is all that there is
		}
		s := machine(t)
		s.addDisk(t, other, "vdb", 512, part{esp, 1}, part{data, 2})
		demand := func(when string) {
			t.Helper()
			found, err := s.Find(r, waits(func() { t.Errorf("%s, %s: waits", name, when) }))
			if err == nil || found.Device != "" && !strings.Contains(err.Error(), "could be the data partition") {
				t.Errorf("%s, %s: found %q, %v, want an error", name, when, found.Device, err)
			}
			if err := s.Demand(r, s.Dev+"/vdb2"); r.knowsBoot() && err == nil {
				t.Errorf("%s, %s: the node may move onto the copy", name, when)
			}
		}
		demand("missing")
		s.addDisk(t, bootSlot, "vda", 512, part{esp, 1}, part{data, 2})
		s.opens("vda", func(d disk) disk { return broken{d} })
		demand("unreadable")
	}
}

// A partition that is named may be on another disk than the one that was booted.
func TestNamedOnAnotherDisk(t *testing.T) {
	for _, boot := range []string{"vda", "sr0"} {
		s := machine(t)
		s.addDisk(t, bootSlot, boot, 512, part{esp, 1})
		s.addDisk(t, other, "vdb", 512, part{data, 2})
		s.write(t, "class/nvme/nvme0/state", "connecting\n")
		r := Rule{DataPart: uuid(2), Boot: gpt.GUID{1}, Path: bootAt}
		found, err := s.Find(r, waits(func() { t.Errorf("%s: waits", boot) }))
		if err != nil || filepath.Base(found.Device) != "vdb1" {
			t.Errorf("%s: found %q, %v", boot, found.Device, err)
		}
	}
}

// fittings are disks by where they hang, and how that fits to a path.
var fittings = []struct {
	path BootPath
	bus  string
	want fit
}{
	{bootAt, bootSlot, confirmed},
	{bootAt, bootSlot + "/virtio1", confirmed},
	{bootAt, other, contradicts},
	{bootAt, "pci0000:00", possible},
	{bootAt, bootSlot + "/pci10000:e0/10000:e0:06.0", possible}, // behind a VMD
	{BootPath{}, other, possible},
	{BootPath{bootAt.slots, "scsi 0:1"}, bootSlot + "/virtio1/host0/target0:0:0/0:0:0:1", confirmed},
	{BootPath{bootAt.slots, "scsi 0:1"}, bootSlot + "/virtio1/host0/target0:0:0/0:0:0:2", contradicts},
	{BootPath{bootAt.slots, "scsi 0:1"}, bootSlot + "/host0/target0:2:0/0:2:0:0", possible}, // a RAID
}

func TestFits(t *testing.T) {
	for _, tt := range fittings {
		s := machine(t)
		s.addDisk(t, tt.bus, "sda", 512)
		if got := s.fits(tt.path, "sda"); got != tt.want {
			t.Errorf("%v, a disk at %s: %v, want %v", tt.path, tt.bus, got, tt.want)
		}
	}
}

func TestFindDoesNotWait(t *testing.T) {
	s := machine(t)
	s.addDisk(t, pci, "vda", 512, part{esp, 1})
	s.write(t, "class/nvme/nvme0/state", "live\n")
	s.write(t, "class/nvme/nvme0/nvme0n1/size", "0\n")
	busy := machine(t)
	busy.addDisk(t, pci, "vda", 512, part{esp, 1})
	busy.write(t, "class/mmc_host/mmc0/uevent", "")
	wait := waits(func() { t.Error("waits for a disk that cannot come, or would not count") })
	for _, tt := range []struct {
		s System
		r Rule
	}{{s, auto}, {s, Rule{DataPart: Auto, Boot: gpt.GUID{9}}}, {s, Rule{DataPart: Auto, Disk: Auto}}, {busy, auto}, {busy, Rule{DataPart: Auto, Boot: gpt.GUID{1}}}} {
		if found, err := tt.s.Find(tt.r, wait); err != nil || found.Device != "" {
			t.Errorf("%+v: %+v, %v", tt.r, found, err)
		}
	}
}

func TestProbing(t *testing.T) {
	tests := []struct {
		files []string
		want  bool
	}{
		{nil, false},
		{[]string{"bus/usb/devices/usb1/idVendor"}, false},
		{[]string{"bus/usb/devices/usb1/idVendor", "bus/usb/drivers/usb-storage/bind"}, true},
		{[]string{"class/mmc_host/mmc0/uevent"}, true},
	}
	for _, tt := range tests {
		s := machine(t)
		for _, f := range tt.files {
			s.write(t, f, "")
		}
		if got := s.Probing(); got != tt.want {
			t.Errorf("Probing with %q = %v, want %v", tt.files, got, tt.want)
		}
	}
}

func TestDevice(t *testing.T) {
	s := machine(t)
	s.addDisk(t, pci, "vda", 512, part{esp, 1})
	err := s.Device(filepath.Join(s.Dev, "vda"), waits(func() { t.Error("waits") }))
	if err == nil || !strings.Contains(err.Error(), "is not a block device") {
		t.Errorf("Device of a file = %v", err)
	}
	if got, want := s.names(), "vda vda1"; got != want {
		t.Errorf("names = %q, want %q", got, want)
	}
}

// What a pod asks PID 1 to move onto must be a data partition of a disk that may have
// one.
func TestDemand(t *testing.T) {
	s := machine(t)
	s.addDisk(t, pci, "vda", 512, part{esp, 1}, part{data, 2})
	s.addDisk(t, pci, "vdb", 512, part{data, 3}, part{esp, 4})
	s.addDisk(t, pci+"/usb1", "sdu", 512, part{data, 5})
	s.addDisk(t, "virtual", "loop0", 512, part{data, 6})
	fifo := filepath.Join(s.Dev, "fifo")
	lab.Must(t, unix.Mkfifo(fifo, 0o600))
	for _, tt := range []struct {
		rule   Rule
		device string
		want   string // part of the error, "" for none
	}{
		{auto, "vda2", ""},
		{auto, "vdb1", ""},
		{auto, "vdb2", "has the GPT type c12a7328-"},
		{auto, "vdb", "is no partition"},
		{auto, "sdu1", "/dev/sdu is behind USB: such a disk takes a data partition only if kios.disk=/dev/sdu"},
		{Rule{DataPart: Auto, Disk: "/dev/sdu"}, "sdu1", ""},
		{Rule{DataPart: Auto, Boot: gpt.GUID{5}}, "sdu1", ""},
		{Rule{DataPart: Auto, Disk: "/dev/loop0"}, "loop0p1", "is no partition"},
		{auto, "fifo", "is no partition"},
		{auto, "../dev/vda2", "is no partition"},
		{auto, "watchdog", "is no partition"},
		{Rule{DataPart: uuid(2)}, "vda2", ""},
		{Rule{DataPart: uuid(2)}, "vdb1", "is not the partition of datapart=PARTUUID="},
		{Rule{DataPart: "/dev/fifo"}, "vda2", "names another device"},
		{Rule{DataPart: "/dev/fifo"}, "fifo", "is not a block device"},
		{Rule{DataPart: None}, "vda2", "forbids it"},
	} {
		err := s.Demand(tt.rule, s.Dev+"/"+tt.device)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v, %s: %v, want %q", tt.rule, tt.device, err, tt.want)
		}
	}
}

// Nothing but a block device is opened: a FIFO would wait for ever.
func TestOpenBlock(t *testing.T) {
	dir := t.TempDir()
	fifo, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	lab.Must(t, errors.Join(unix.Mkfifo(fifo, 0o600), os.Symlink("/dev/null", link)))
	for _, path := range []string{fifo, link, "/dev/null", dir, filepath.Join(dir, "missing")} {
		if f, err := openBlock(path); err == nil {
			f.Close()
			t.Errorf("%s was opened", path)
		}
	}
}

func TestBootPartition(t *testing.T) {
	dir := t.TempDir()
	if got, err := BootPartition(dir); err != nil || got != (gpt.GUID{}) {
		t.Errorf("without the variable: %v, %v", got, err)
	}
	const text = "6B694F53-0102-4000-8000-0000000000AB"
	variable := []byte{6, 0, 0, 0}
	for _, c := range text + "\x00" {
		variable = append(variable, byte(c), 0)
	}
	for _, tt := range []struct {
		data []byte
		want string
	}{{variable, strings.ToLower(text)}, {variable[:len(variable)-2], strings.ToLower(text)}, {variable[:20], ""}, {nil, ""}, {make([]byte, 4096), ""}} {
		lab.Must(t, os.WriteFile(filepath.Join(dir, bootVariable), tt.data, 0o600))
		got, err := BootPartition(dir)
		if (err == nil) != (tt.want != "") || err == nil && got.String() != tt.want {
			t.Errorf("%d bytes: %v, %v, want %q", len(tt.data), got, err, tt.want)
		}
	}
}

// option is a boot option as efivarfs has it: after PCI(1c.3)/PCI(0.0) come more nodes.
func option(nodes ...byte) []byte {
	path := append([]byte{2, 1, 12, 0, 0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0, 1, 1, 6, 0, 3, 0x1c, 1, 1, 6, 0, 0, 0}, nodes...)
	path = append(path, 0x7f, 0xff, 4, 0)
	b := []byte{7, 0, 0, 0, 1, 0, 0, 0, byte(len(path)), 0, 'k', 0, 0, 0}
	return append(b, path...)
}

var nvme = []byte{3, 0x17, 16, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// Of disks that are copies of each other, the one is taken that firmware booted from.
func TestBootPath(t *testing.T) {
	s := machine(t)
	const controller = "pci0000:00/0000:00:1c.3/0000:05:00.0"
	for disk, bus := range map[string]string{
		"nvme0n1": controller + "/nvme/nvme0", "nvme0n2": controller + "/nvme/nvme0",
		"sda": controller + "/virtio1/host0/target0:0:1/0:0:1:4", "sdb": controller + "/virtio1/host0/target0:0:1/0:0:1:5",
		"vda": "pci0000:00/0000:00:1c.3/0000:05:00.1", "vdb": "pci0000:00/0000:00:1c.3",
	} {
		s.addDisk(t, bus, disk, 512, part{esp, 1}, part{data, 2})
	}
	s.write(t, "devices/"+controller+"/nvme/nvme0/transport", "pcie\n")
	s.write(t, "block/nvme0n1/nsid", "1\n")
	s.write(t, "block/nvme0n2/nsid", "2\n")
	for _, tt := range []struct {
		name   string
		option []byte
		want   string // "" for an error
	}{
		{"NVMe", option(nvme...), "nvme0n2p2"},
		{"SCSI", option(3, 2, 8, 0, 1, 0, 5, 0), "sdb2"},
		{"controller of several", option(), ""},
		{"partition only", option(4, 1, 4, 0)[:14], ""},
		{"network card", option(3, 0x0b, 37, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), ""},
		{"nothing", nil, ""},
	} {
		efivars := t.TempDir()
		lab.Must(t, errors.Join(os.WriteFile(filepath.Join(efivars, "BootCurrent-"+globalVariable), []byte{6, 0, 0, 0, 0x1f, 0}, 0o600),
			os.WriteFile(filepath.Join(efivars, "Boot001F-"+globalVariable), tt.option, 0o600)))
		path, err := ReadBootPath(efivars)
		if tt.want != "" {
			lab.Must(t, err)
		}
		for _, r := range []Rule{{DataPart: Auto, Boot: gpt.GUID{1}, Path: path}, {DataPart: uuid(2), Path: path}} {
			found, _, err := s.Look(r)
			if got := filepath.Base(found.Device); (err == nil) != (tt.want != "") || err == nil && got != tt.want {
				t.Errorf("%s: %v leads to %q, %v, want %q", tt.name, path, got, err, tt.want)
			}
		}
	}
	if path, err := ReadBootPath(t.TempDir()); err != nil || len(path.slots) != 0 {
		t.Errorf("without variables: %v, %v", path, err)
	}
}

func FuzzParseOption(f *testing.F) {
	f.Add(option(nvme...))
	f.Fuzz(func(_ *testing.T, data []byte) { parseOption(data) })
}

func FuzzParseVariable(f *testing.F) {
	f.Add([]byte{6, 0, 0, 0, '6', 0})
	f.Fuzz(func(_ *testing.T, data []byte) { parseVariable(data) })
}

func TestPartitionString(t *testing.T) {
	got := Partition{Disk: "vda", Device: "/host/dev/vda2", GUID: gpt.GUID{1}}.String()
	if diff := cmp.Diff("/dev/vda2 (PARTUUID=00000001-0000-0000-0000-000000000000)", got); diff != "" {
		t.Error(diff)
	}
}
