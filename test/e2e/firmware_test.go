//go:build image

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"kios/host/qemu"
	"kios/test/lab"
)

// copyDisk copies the node's disk, GUIDs included.
func (n *node) copyDisk() string {
	n.t.Helper()
	path := filepath.Join(n.t.TempDir(), "copy.raw")
	lab.Run(n.t, "cp", "--sparse=always", n.disk, path)
	return path
}

// bootDisks are machines with a disk and a copy of it. The firmware boots from one of
// them, and the node takes its data partition, wherever the kernel finds it.
var bootDisks = []struct {
	bus, copyBus string
	copyFirst    bool   // the firmware boots from the copy
	want         string // on the console
}{
	{"virtio", "virtio", true, `data partition /dev/vdb2$`},
	{"nvme", "nvme", true, `data partition /dev/nvme1n1p2$`},
	{"virtio", "usb", true, `data partition /dev/sda2$`}, // a stick counts if the machine boots from it
	// Both hang at the one controller, and its ports are not compared.
	{"ahci", "ahci", true, `the disks sda and sdb all have the partition .*, from which the machine booted`},
}

// The firmware knows which disk it booted from, which a copy of the disk does not change.
func TestHardwareBootDisk(t *testing.T) {
	long(t)
	n := prepare(t, setup{uefi: true, few: true})
	second := n.copyDisk()
	for _, tt := range bootDisks {
		first, other := 0, 1
		if tt.copyFirst {
			first, other = 1, 0
		}
		n.cfg.Disks = []qemu.Disk{{Path: n.disk, Bus: tt.bus, Snapshot: true}, {Path: second, Bus: tt.copyBus, Snapshot: true}}
		n.cfg.Args = []string{"-set", fmt.Sprintf("device.disk%d.bootindex=0", first), "-set", fmt.Sprintf("device.disk%d.bootindex=1", other)}
		t.Run(fmt.Sprintf("%s and %s, boot from %d", tt.bus, tt.copyBus, first), func(t *testing.T) {
			one := *n
			one.t, one.cfg.Dir = t, t.TempDir()
			one.start()
			one.expect(tt.want)
			one.Kill()
		})
	}
}
