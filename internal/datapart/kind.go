package datapart

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// disks returns the names of all disks that the machine has, fixed or not. What is
// made of other disks, of memory or of a network is none, and is not even opened.
func (s System) disks() (names []string) {
	for _, dir := range s.glob("block/*") {
		if name := filepath.Base(dir); s.local(name) == nil {
			names = append(names, name)
		}
	}
	return names
}

// Fixed returns why a disk is not a fixed part of this machine, or nil if it is. It
// completes a sentence that begins with the disk. Removable disks are none, nor those
// of a network or behind USB, nor what other devices are made into.
func (s System) Fixed(disk string) error {
	if err := s.local(disk); err != nil {
		return err
	}
	path := s.devicePath(disk)
	switch {
	case has(path, "usb"):
		return errors.New("is behind USB")
	case s.text("block", disk, "removable") == "1", s.text("block", disk, "device/type") == "SD", s.behindRemovable(path):
		return errors.New("is removable")
	}
	return nil
}

// buses are where disks hang: what the first component of their path below /sys/devices
// begins with.
var buses = []string{"pci", "platform", "virtio-mmio-cmdline", "LNXSYSTM:", "ACPI", "vbd-"}

// isDisk reports whether what sysfs calls a disk holds data that anybody stores there:
// not memory, CD-ROMs, floppies, or the boot areas of an eMMC.
func isDisk(name string) bool {
	for _, prefix := range []string{"ram", "zram", "sr", "fd"} {
		if numbered(name, prefix) {
			return false
		}
	}
	return !numbered(name, "mmcblk") || !strings.Contains(name, "boot") && !strings.Contains(name, "rpmb")
}

// numbered reports whether a name is a prefix with a number behind it.
func numbered(name, prefix string) bool {
	rest, found := strings.CutPrefix(name, prefix)
	return found && rest != "" && '0' <= rest[0] && rest[0] <= '9'
}

// has reports whether a component of a path is numbered so.
func has(path []string, prefix string) bool {
	return slices.ContainsFunc(path, func(component string) bool { return numbered(component, prefix) })
}

// local returns why something that sysfs lists as a disk is not one that is attached
// to this machine, or nil.
func (s System) local(disk string) error {
	path := s.devicePath(disk)
	switch {
	case len(path) == 0:
		return errors.New("is not there")
	case !isDisk(disk), s.text("block", disk, "hidden") == "1":
		return errors.New("is no disk")
	case has(path, "session"):
		return errors.New("is an iSCSI disk")
	case has(path, "rport-"):
		return errors.New("is a disk of a Fibre Channel network")
	case s.text("block", disk, "device/transport") != "", path[0] == "virtual" && has(path, "nvme-subsys"):
		return s.demandPCIe(path)
	case !slices.ContainsFunc(buses, func(bus string) bool { return strings.HasPrefix(path[0], bus) }):
		return errors.New("is made of memory, of a network or of other disks")
	}
	return nil
}

// demandPCIe refuses NVMe namespaces that are reached over a network. One that several
// controllers may have is a virtual device below a subsystem, which links to these.
func (s System) demandPCIe(path []string) error {
	controllers := s.glob(filepath.Join("devices", filepath.Join(path[:len(path)-1]...), "nvme*/transport"))
	if own := s.glob(filepath.Join("devices", filepath.Join(path[:len(path)-1]...), "transport")); len(own) > 0 {
		controllers = own
	}
	for _, file := range controllers {
		text, _ := os.ReadFile(file)
		if transport := strings.TrimSpace(string(text)); transport != "pcie" {
			return fmt.Errorf("is an NVMe disk of a network (%s)", transport)
		}
	}
	if len(controllers) == 0 {
		return errors.New("is an NVMe disk without a controller")
	}
	return nil
}

// devicePath returns the components of a disk's path below /sys/devices, or nothing
// if there is no such disk.
func (s System) devicePath(disk string) []string {
	if disk != filepath.Base(disk) {
		return nil
	}
	real, err := filepath.EvalSymlinks(filepath.Join(s.Sys, "block", disk))
	root, rootErr := filepath.EvalSymlinks(filepath.Join(s.Sys, "devices"))
	below, found := strings.CutPrefix(real, root+"/")
	if err != nil || rootErr != nil || !found {
		return nil
	}
	return strings.Split(below, "/")
}

// behindRemovable reports whether a device on the way to the disk can be pulled: the
// kernel says so of ports of USB and of PCI, such as Thunderbolt.
func (s System) behindRemovable(path []string) bool {
	for i := range path {
		if s.text("devices", filepath.Join(path[:i+1]...), "removable") == "removable" {
			return true
		}
	}
	return false
}

// text returns what a file of sysfs says, or "" if there is none.
func (s System) text(path ...string) string {
	text, _ := os.ReadFile(filepath.Join(append([]string{s.Sys}, path...)...))
	return strings.TrimSpace(string(text))
}
