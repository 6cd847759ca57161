package datapart

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kios/internal/gpt"
	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
)

// machine is a System of files.
func machine(t *testing.T) System {
	t.Helper()
	dir := t.TempDir()
	s := System{Sys: filepath.Join(dir, "sys"), Dev: filepath.Join(dir, "dev")}
	lab.Must(t, os.MkdirAll(s.Dev, 0o755))
	return s
}

func (s System) write(t *testing.T, file, text string) {
	t.Helper()
	path := filepath.Join(s.Sys, file)
	lab.WriteFile(t, path, text)
}

// addDisk makes a disk whose partitions have the given types; the kernel's
// name of each is disk + separator + number.
func (s System) addDisk(t *testing.T, disk, separator string, sectorSize int64, types ...gpt.GUID) {
	t.Helper()
	const sectors = 8192
	s.write(t, "block/"+disk+"/size", strconv.FormatInt(sectors*sectorSize/512, 10)+"\n")
	s.write(t, "block/"+disk+"/queue/logical_block_size", strconv.FormatInt(sectorSize, 10)+"\n")
	f, err := os.Create(filepath.Join(s.Dev, disk))
	lab.Must(t, err)
	defer f.Close()
	f.Truncate(sectors * sectorSize)
	table := &gpt.Table{SectorSize: sectorSize, Sectors: sectors, DiskGUID: gpt.GUID{1}}
	for i, typ := range types {
		n := strconv.Itoa(i + 1)
		s.write(t, "block/"+disk+"/"+disk+separator+n+"/partition", n+"\n")
		first := uint64(1024 * (i + 1))
		table.Partitions = append(table.Partitions, gpt.Partition{Number: i + 1, Type: typ, GUID: gpt.GUID{byte(i + 2)}, FirstLBA: first, LastLBA: first + 1023})
	}
	lab.Must(t, gpt.Write(f, table))
}

// rel returns devices as names.
func rel(devices []string) (names []string) {
	for _, d := range devices {
		names = append(names, filepath.Base(d))
	}
	return names
}

var esp = gpt.MustParseGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")

func TestScan(t *testing.T) {
	s := machine(t)
	s.addDisk(t, "vdb", "", 512, esp, gpt.TypeKiosData)
	s.addDisk(t, "nvme0n1", "p", 4096, gpt.TypeKiosData)
	s.addDisk(t, "sda", "", 512, esp)
	s.addDisk(t, "zram0", "p", 512, gpt.TypeKiosData)
	s.write(t, "block/sr0/size", "0\n")
	s.write(t, "block/loop0/size", "0\n")
	devices, problems := s.Scan()
	if len(problems) != 0 {
		t.Errorf("problems: %v", problems)
	}
	if diff := cmp.Diff([]string{"nvme0n1p1", "vdb2"}, rel(devices)); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
}

func TestScanProblems(t *testing.T) {
	s := machine(t)
	s.addDisk(t, "vda", "", 512, gpt.TypeKiosData)
	s.write(t, "block/vdb/size", "100\n") // has no node
	s.addDisk(t, "vdc", "", 512, gpt.TypeKiosData)
	os.RemoveAll(filepath.Join(s.Sys, "block/vdc/vdc1"))
	os.WriteFile(filepath.Join(s.Dev, "vdd"), make([]byte, 1<<20), 0o644) // has no table
	s.write(t, "block/vdd/size", "2048\n")
	devices, problems := s.Scan()
	if diff := cmp.Diff([]string{"vda1"}, rel(devices)); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	var text []string
	for _, p := range problems {
		text = append(text, p.Error())
	}
	all := strings.Join(text, "\n")
	if len(problems) != 2 || !strings.Contains(all, "disk vdb: ") || !strings.Contains(all, "disk vdc: the kernel does not show partition 1") {
		t.Errorf("problems: %s", all)
	}
}

// waits calls a function for each wait instead of waiting.
type waits func()

func (w waits) Wait(time.Duration) { w() }

func TestAutoWaitsForLateDisk(t *testing.T) {
	s := machine(t)
	s.write(t, "class/nvme/nvme0/state", "connecting\n")
	count := 0
	devices, _ := s.Auto(waits(func() {
		if count++; count == 3 {
			s.addDisk(t, "nvme0n1", "p", 512, gpt.TypeKiosData)
		}
	}))
	if diff := cmp.Diff([]string{"nvme0n1p1"}, rel(devices)); diff != "" || count != 3 {
		t.Errorf("after %d waits devices (-want +got):\n%s", count, diff)
	}
}

func TestAutoDoesNotWait(t *testing.T) {
	s := machine(t)
	s.addDisk(t, "vda", "", 512, esp)
	s.write(t, "class/nvme/nvme0/state", "live\n")
	devices, _ := s.Auto(waits(func() { t.Error("waits although everything was probed") }))
	if len(devices) != 0 {
		t.Errorf("devices = %v", devices)
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
	s.addDisk(t, "vda", "", 512, esp)
	never := waits(func() { t.Error("waits") })
	err := s.Device(filepath.Join(s.Dev, "vda"), never)
	if err == nil || !strings.Contains(err.Error(), "is not a block device") {
		t.Errorf("Device of a file = %v", err)
	}
	if got, want := s.names(), "vda vda1"; got != want {
		t.Errorf("names = %q, want %q", got, want)
	}
}
