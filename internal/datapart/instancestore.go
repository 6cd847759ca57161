package datapart

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
)

// instanceStoreModel is what the disks say of themselves that belong to an instance of
// EC2, and whose contents end with it. Volumes of EBS are "Amazon Elastic Block Store".
const instanceStoreModel = "Amazon EC2 NVMe Instance Storage"

// InstanceStore returns the names of the disks that belong to this instance of EC2, in the
// order of their serial numbers: the kernel's names may be others after a reboot.
func (s System) InstanceStore() (names []string) {
	for _, dir := range s.glob("block/*") {
		name := filepath.Base(dir)
		if s.text("block", name, "device/model") == instanceStoreModel && s.text("block", name, "size") != "0" && s.Fixed(name) == nil {
			names = append(names, name)
		}
	}
	serial := func(name string) string { return s.text("block", name, "device/serial") }
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(serial(a), serial(b)), cmp.Compare(a, b))
	})
	return names
}

// StripesName is the name that the device mapper has for all disks of this instance as one.
const StripesName = "kios-instance-store"

// Stripes returns the kernel's name of that device, or "" if there is none.
func (s System) Stripes() string {
	for _, dir := range s.glob("block/dm-*") {
		if name := filepath.Base(dir); s.text("block", name, "dm/name") == StripesName {
			return name
		}
	}
	return ""
}

// demandStripes returns why that device takes no data partition, or nil. It has no table:
// what counts is that it is made of nothing but disks of this instance. To make such a device
// takes the right to do anything with disks.
func (s System) demandStripes(r Rule, name string) error {
	if r.DataPart != Auto {
		return fmt.Errorf("datapart=%s on the kernel command line names another partition than /dev/%s", r.DataPart, name)
	}
	disks := s.glob(filepath.Join("block", name, "slaves/*"))
	own := s.InstanceStore()
	for _, dir := range disks {
		if disk := filepath.Base(dir); !slices.Contains(own, disk) {
			return fmt.Errorf("/dev/%s is made of /dev/%s, which is no disk of an instance of EC2", name, disk)
		}
	}
	if len(disks) == 0 {
		return fmt.Errorf("/dev/%s is made of no disk", name)
	}
	return nil
}
