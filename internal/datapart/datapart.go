// Package datapart finds the data partition. /meta/etc on it decides what a node
// runs, so not every disk that carries the GPT type of kiOS may be one: pods have
// disks, too, and write on them what they like. A Rule says which disks count:
//
//   - the disk that the machine booted from, as firmware or a boot loader tells;
//   - what the owner of the machine names on the kernel command line.
//
// Where two partitions could be meant, none is taken. The package only reads; what
// is mounted where is up to the boot.
package datapart

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// How long to wait for a disk that is not there yet.
const (
	probeBound  = 2 * time.Second  // while drivers are still looking for disks
	bootBound   = 10 * time.Second // for the disk that the machine booted from, while they are
	deviceBound = 30 * time.Second // for a device that was named

	// stateBound is how long a change may go unnoticed that no event tells of, such as an
	// NVMe controller that turns out to be dead.
	stateBound = 200 * time.Millisecond
)

// System is where the kernel shows its devices.
type System struct {
	Sys, Dev string // "/sys" and "/dev" but in tests
	// Loaded says that drivers of disks have just been loaded, whose disks may still come.
	Loaded bool

	open func(path string) (disk, error) // nil for openDisk
}

// Events tells of changes of devices.
type Events interface {
	// Wait returns after the next change of a block device, or after the
	// given time.
	Wait(time.Duration)
}

// Found is what a search has found.
type Found struct {
	Device string // in Dev, or "" if there is no data partition
	// Ignored are partitions of the right type that are not on a disk that counts.
	Ignored []Partition
	// Problems are those of disks that could not be read.
	Problems []Problem
}

// Find returns the data partition. It waits for a disk that may still come: for one
// that is named at most 30 seconds, and otherwise as long as drivers look for disks,
// but not longer than 10. The error says why none is taken although one could be
// meant, or that the one that is named is not there.
func (s System) Find(r Rule, events Events) (Found, error) {
	if strings.HasPrefix(r.DataPart, "/dev/") {
		device := filepath.Join(s.Dev, strings.TrimPrefix(r.DataPart, "/dev"))
		return Found{Device: device}, s.Device(device, events)
	}
	for start := time.Now(); ; {
		found, missing, err := s.Look(r)
		left := missing - time.Since(start)
		if left <= 0 {
			return found, err
		}
		events.Wait(min(left, stateBound))
	}
}

// Look is Find without waiting. The time is how long it is worth waiting for a disk that
// is missing, since the first look; it is 0 if none is.
func (s System) Look(r Rule) (found Found, missing time.Duration, err error) {
	if r.DataPart == None {
		return Found{}, 0, nil
	}
	all := s.survey()
	found, err = s.choose(r, all)
	if err == nil && found.Device == "" && r.named() {
		err = fmt.Errorf("no disk has the partition %s (block devices of this machine: %s)", r.DataPart, s.names())
		return found, deviceBound, err
	}
	return found, s.missing(r, all, found, err), err
}

// missing returns how long to wait for a disk that would change the choice.
func (s System) missing(r Rule, all survey, found Found, err error) time.Duration {
	var bound time.Duration
	if err == nil && found.Device == "" && r.Disk != "" && s.Probing() {
		bound = probeBound
	}
	if s.bootMissing(r, all, err) {
		bound = bootBound
	}
	return bound
}

// bootMissing reports whether the disk that the machine booted from may still come. It
// goes before all others, and a copy of it must not be taken because it is quicker.
func (s System) bootMissing(r Rule, all survey, err error) bool {
	boot, _ := s.bootDisks(r, all)
	switch {
	case !r.knowsBoot() && !r.named():
		return false
	case r.Path.known():
		return !s.bootDeviceRead(r.Path, all) && s.Probing()
	case r.knowsBoot() && len(boot) == 0:
		return s.Probing()
	}
	// One that fits is there, and may be a copy. Two are refused, whatever comes.
	return err == nil && s.resetting()
}

// Device waits until the named block device is there, for at most 30 seconds.
func (s System) Device(path string, events Events) error {
	for deadline := time.Now().Add(deviceBound); ; {
		info, err := os.Stat(path)
		left := time.Until(deadline)
		switch {
		case err == nil && isBlock(info):
			return nil
		case err == nil:
			return fmt.Errorf("%s is not a block device", path)
		case left <= 0:
			return fmt.Errorf("%s did not appear within %v (block devices of this machine: %s)", path, deviceBound, s.names())
		}
		events.Wait(left)
	}
}

func isBlock(info os.FileInfo) bool {
	return info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0
}

// Probing reports whether a disk may still appear by itself. What sits on PCI,
// virtio, SCSI or ATA is complete before the kernel starts PID 1: the probes
// run in initcalls or in async calls, and kernel_init() waits for both
// (async_synchronize_full in init/main.c). What is left is found by work
// queues that nobody waits for: NVMe controllers that are still being reset,
// and everything behind USB and MMC.
func (s System) Probing() bool {
	if s.Loaded {
		return true
	}
	if s.resetting() || s.scanning() {
		return true
	}
	usbDisks := len(s.glob("bus/usb/drivers/usb-storage")) > 0 && len(s.glob("bus/usb/devices/usb*")) > 0
	return usbDisks || len(s.glob("class/mmc_host/*")) > 0
}

// resetting reports whether an NVMe controller is on its way.
func (s System) resetting() bool {
	return slices.ContainsFunc(s.glob("class/nvme/*/state"), func(file string) bool {
		state, _ := os.ReadFile(file)
		return !slices.Contains([]string{"live", "dead"}, strings.TrimSpace(string(state)))
	})
}

// scanning reports whether a controller has no disk yet: it is live before its disks are
// looked for.
func (s System) scanning() bool {
	return slices.ContainsFunc(s.glob("class/nvme/*/state"), func(file string) bool {
		state, _ := os.ReadFile(file)
		disks, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "nvme*n[0-9]*"))
		return strings.TrimSpace(string(state)) == "live" && len(disks) == 0
	})
}

func (s System) glob(pattern string) []string {
	found, _ := filepath.Glob(filepath.Join(s.Sys, pattern))
	return found
}

// names returns what the kernel has in the way of disks and partitions.
func (s System) names() string {
	var names []string
	for _, name := range s.disks() {
		names = append(names, name)
		parts, _ := filepath.Glob(filepath.Join(s.Sys, "block", name, name+"*"))
		for _, p := range parts {
			names = append(names, filepath.Base(p))
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, " ")
}
