//go:build image

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kios/host/qemu"
	"kios/test/lab"
)

// checkScreen demands that the boot is told on the screen, too.
func checkScreen(t *testing.T, n *node) {
	picture := filepath.Join(t.TempDir(), "screen.ppm")
	_, err := n.Execute(t.Context(), "screendump", map[string]any{"filename": picture})
	n.must(err)
	if lines := textLines(t, picture); lines < 10 {
		t.Errorf("the screen shows %d lines of text, want 10 at least", lines)
	}
}

// textLines counts the rows of 16 pixels of a binary PPM file, see ppm(5),
// in which not all pixels are alike.
func textLines(t *testing.T, file string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	lab.Must(t, err)
	var width, height, depth int
	if _, err := fmt.Sscanf(string(data), "P6\n%d %d\n%d\n", &width, &height, &depth); err != nil {
		t.Fatalf("%s is no PPM file: %v", file, err)
	}
	pixels := data[len(data)-width*height*3:]
	lines := 0
	for row := pixels; len(row) >= 16*width*3; row = row[16*width*3:] {
		first := bytes.Repeat(row[:3], 16*width)
		if !bytes.Equal(row[:16*width*3], first) {
			lines++
		}
	}
	return lines
}

func TestTwoDataPartitions(t *testing.T) {
	n, second := prepare(t, setup{few: true}), prepare(t, setup{few: true})
	n.cfg.Disks = append(n.cfg.Disks, qemu.Disk{Path: second.disk})
	n.start()
	n.expect(`data partition /dev/vda2`) // of the first disk, which the machine boots from
	n.running("probe")
	n.powerOff()
	n.cfg.Append += " datapart=/dev/vdb2"
	n.access = second.access // its kubelet has other keys
	n.reboot()
	n.expect(`data partition /dev/vdb2`)
	n.running("probe")
	n.powerOff()
}

// The disk that is named on the command line comes after the boot has begun.
func TestLateDisk(t *testing.T) {
	n := prepare(t, setup{few: true, append: "datapart=/dev/vda2"})
	n.cfg.Disks, n.cfg.HotplugPorts = nil, 1
	n.start()
	n.expect(`step tmpfs`)
	for _, command := range []struct {
		name string
		args map[string]any
	}{
		{"blockdev-add", map[string]any{"node-name": "late", "driver": "raw", "file": map[string]any{"driver": "file", "filename": n.disk}}},
		{"device_add", map[string]any{"driver": "virtio-blk-pci", "drive": "late", "bus": "hotplug0", "id": "disk0"}},
	} {
		_, err := n.Execute(t.Context(), command.name, command.args)
		n.must(err)
	}
	n.expect(`data partition /dev/vda2`)
	n.running("probe")
	n.powerOff()
	n.demandCleanDisk()
}

func TestDiskThatNeverComes(t *testing.T) {
	t.Parallel() // it waits more than it works
	n := boot(t, setup{few: true, append: "datapart=/dev/vdx1"})
	n.expect(`datapart=/dev/vdx1: /dev/vdx1 did not appear within 30s \(block devices of this machine: .*vda2.*\); this boot keeps everything in memory`)
	n.expect(`pod kube-system/network.* container network started`)
	n.powerOff()
}

// A PID 1 that dies takes the kernel along, which starts the machine again.
func TestMachineComesBackWhenInitDies(t *testing.T) {
	t.Parallel() // it waits more than it works
	n := boot(t, setup{few: true})
	n.running("probe")
	n.Mark()
	ctx, cancel := context.WithTimeout(t.Context(), n.Scale(2*time.Second))
	defer cancel()
	_, _ = n.tryProbe(ctx, "crash", "1") // nobody is left to answer
	n.expect(`Attempted to kill init!`)
	n.expect(`Rebooting in 10 seconds`)
	n.expect(`kubelet ready`)
	n.running("probe")
	n.powerOff()
	n.demandCleanDisk()
}
