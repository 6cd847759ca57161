package datapart

import (
	"cmp"
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
