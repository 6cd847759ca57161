// Package datapart finds the data partition: the partition of any disk that
// has kiOS's GPT type, or the device that datapart= names. It only reads; what
// is mounted where is up to the boot.
package datapart

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"kios/internal/gpt"
)

// How long to wait for a disk that is not there yet.
const (
	probeBound  = 2 * time.Second  // while drivers are still looking for disks
	deviceBound = 30 * time.Second // for a device that was named
)

// System is where the kernel shows its devices.
type System struct {
	Sys, Dev string // "/sys" and "/dev" but in tests
}

// Events tells of changes of devices.
type Events interface {
	// Wait returns after the next change of a block device, or after the
	// given time.
	Wait(time.Duration)
}

// Auto returns the devices of all data partitions in the order of their names,
// and an error for each disk that could not be read. Without any it waits as
// long as drivers may still bring a disk, but at most two seconds.
func (s System) Auto(events Events) (devices []string, problems []error) {
	for deadline := time.Now().Add(probeBound); ; {
		devices, problems = s.Scan()
		left := time.Until(deadline)
		if len(devices) > 0 || left <= 0 || !s.Probing() {
			return devices, problems
		}
		events.Wait(left)
	}
}

// Device waits until the named block device is there, for at most 30 seconds.
func (s System) Device(path string, events Events) error {
	for deadline := time.Now().Add(deviceBound); ; {
		info, err := os.Stat(path)
		left := time.Until(deadline)
		switch {
		case err == nil && info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0:
			return nil
		case err == nil:
			return fmt.Errorf("%s is not a block device", path)
		case left <= 0:
			return fmt.Errorf("%s did not appear within %v (block devices of this machine: %s)", path, deviceBound, s.names())
		}
		events.Wait(left)
	}
}

// Probing reports whether a disk may still appear by itself. What sits on PCI,
// virtio, SCSI or ATA is complete before the kernel starts PID 1: the probes
// run in initcalls or in async calls, and kernel_init() waits for both
// (async_synchronize_full in init/main.c). What is left is found by work
// queues that nobody waits for: NVMe controllers that are still being reset,
// and everything behind USB and MMC.
func (s System) Probing() bool {
	for _, file := range s.glob("class/nvme/*/state") {
		state, _ := os.ReadFile(file)
		if !slices.Contains([]string{"live", "dead"}, strings.TrimSpace(string(state))) {
			return true
		}
	}
	usbDisks := len(s.glob("bus/usb/drivers/usb-storage")) > 0 && len(s.glob("bus/usb/devices/usb*")) > 0
	return usbDisks || len(s.glob("class/mmc_host/*")) > 0
}

func (s System) glob(pattern string) []string {
	found, _ := filepath.Glob(filepath.Join(s.Sys, pattern))
	return found
}

// Scan returns the devices of all data partitions in the order of their names.
func (s System) Scan() (devices []string, problems []error) {
	for _, dir := range s.glob("block/*") {
		found, err := s.scanDisk(dir)
		if err != nil {
			problems = append(problems, fmt.Errorf("disk %s: %w", filepath.Base(dir), err))
		}
		devices = append(devices, found...)
	}
	slices.Sort(devices)
	return devices, problems
}

// names returns what the kernel has in the way of disks and partitions.
func (s System) names() string {
	var names []string
	for _, dir := range s.glob("block/*") {
		if disk := filepath.Base(dir); worthReading(disk) {
			names = append(names, disk)
			parts, _ := filepath.Glob(filepath.Join(dir, disk+"*"))
			for _, p := range parts {
				names = append(names, filepath.Base(p))
			}
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}

// worthReading leaves out what holds no partitions or takes seconds to say so.
func worthReading(disk string) bool {
	for _, prefix := range []string{"ram", "zram", "sr", "fd"} {
		if strings.HasPrefix(disk, prefix) {
			return false
		}
	}
	return true
}

// scanDisk returns the data partitions of the disk that dir describes.
func (s System) scanDisk(dir string) ([]string, error) {
	disk := filepath.Base(dir)
	sectors := number(filepath.Join(dir, "size"), 0) // of 512 bytes, whatever the disk's are
	if !worthReading(disk) || sectors == 0 {
		return nil, nil
	}
	f, err := os.Open(filepath.Join(s.Dev, disk))
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
	return s.ofType(dir, table)
}

func (s System) ofType(dir string, table *gpt.Table) (devices []string, err error) {
	for _, p := range table.Partitions {
		if p.Type != gpt.TypeKiosData {
			continue
		}
		name, ok := partitionName(dir, p.Number)
		if !ok {
			err = fmt.Errorf("the kernel does not show partition %d (its entry may reach past the disk's end)", p.Number)
			continue
		}
		devices = append(devices, filepath.Join(s.Dev, name))
	}
	return devices, err
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
