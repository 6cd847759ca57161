//go:build root

package disk

import (
	"bufio"
	"fmt"
	"strings"
	"testing"

	testlab "kios/test/lab"
)

// instanceDisk adds a disk that says of itself that it belongs to an instance of EC2.
func (l *lab) instanceDisk(name, serial string) *disk {
	l.t.Helper()
	d := l.diskAt("pci0000:00/0000:00:1f."+serial+"/nvme/"+name, name, 256*mib, 512)
	l.model(d, "Amazon EC2 NVMe Instance Storage        ", "AWS"+serial)
	return d
}

// ebs adds the disk that the instance booted from.
func (l *lab) ebs(name string) *disk {
	l.t.Helper()
	d := l.diskAt("pci0000:00/0000:00:04.0/nvme/"+name, name, 256*mib, 512)
	l.model(d, "Amazon Elastic Block Store              ", "vol0123456789abcdef0")
	return d
}

func (l *lab) model(d *disk, model, serial string) {
	l.write("sys/block/"+d.name+"/device/model", model+"\n")
	l.write("sys/block/"+d.name+"/device/serial", serial+"\n")
}

func TestInstanceStore(t *testing.T) {
	l := newLab(t)
	l.ebs("nvme0n1")
	other := l.instanceDisk("nvme1n1", "7") // the kernel's first, and the second by serial
	d := l.instanceDisk("nvme2n1", "3")
	before := other.sum()
	l.settings("device: instance-store\n")
	wantText(t, l.run(), "made the data partition /dev/nvme2n1p1, 254 MiB")
	l.wantMove("/dev/nvme2n1p1")
	d.sound(1)
	// After a reboot it is found again, under another name.
	l.run()
	l.wantMove("/dev/nvme2n1p1")
	l.show()
	unmount := l.inUse(d.part(1))
	defer unmount()
	if log := l.run(); strings.Contains(log, "instance") {
		t.Errorf("a node that is on such a disk says more than usual:\n%s", log)
	}
	if other.sum() != before {
		t.Error("the other disk has changed")
	}
}

// TestInstanceStoreAskedLater has the pod metadata write the settings when the service
// runs already.
func TestInstanceStoreAskedLater(t *testing.T) {
	l := newLab(t)
	l.patience = "1m"
	l.ebs("nvme0n1")
	d := l.instanceDisk("nvme1n1", "1")
	l.settings("repair: true\n")
	cmd := l.service()
	out, err := cmd.StdoutPipe()
	testlab.Must(t, err)
	testlab.Must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "has disks of its own") {
	}
	l.settings("device: instance-store\n")
	var log strings.Builder
	for lines.Scan() {
		fmt.Fprintln(&log, lines.Text())
	}
	testlab.Must(t, cmd.Wait())
	wantText(t, log.String(), "made the data partition /dev/nvme1n1p1")
	l.wantMove("/dev/nvme1n1p1")
	l.show()
	d.sound(1)
}

func TestInstanceStoreLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		name, settings, cmdline, want string
		make                          func(*testing.T, *lab) *disk // what must not change
		moves                         string
	}{
		{"nobody asks", "", "", "nothing has asked for the disks of this instance", func(_ *testing.T, l *lab) *disk { return l.instanceDisk("nvme1n1", "1") }, ""},
		{"no such disk", "device: instance-store\n", "", "this machine has none", func(_ *testing.T, l *lab) *disk { return l.ebs("nvme1n1") }, ""},
		{"forbidden", "device: instance-store\n", "datapart=none", "datapart=none", func(_ *testing.T, l *lab) *disk { return l.instanceDisk("nvme1n1", "1") }, ""},
		{"file system", "device: instance-store\n", "", `holds an NTFS file system "Holiday"`, func(t *testing.T, l *lab) *disk {
			d := l.instanceDisk("nvme1n1", "1")
			command(t, "mkntfs", "-q", "-F", "-f", "-L", "Holiday", d.loop)
			return d
		}, ""},
		{"serial", "device: instance-store\nserial: AWS1\n", "", "serial needs the name of a disk", func(_ *testing.T, l *lab) *disk { return l.instanceDisk("nvme1n1", "1") }, ""},
		{"striped elsewhere", "device: auto\nstriped: true\n", "", "striped needs device: instance-store", func(_ *testing.T, l *lab) *disk { return l.instanceDisk("nvme1n1", "1") }, ""},
		{"command line", "device: instance-store\n", "kios.disk=/dev/nvme0n1", "made the data partition /dev/nvme0n1p1", func(_ *testing.T, l *lab) *disk {
			l.ebs("nvme0n1")
			return l.instanceDisk("nvme1n1", "1")
		}, "/dev/nvme0n1p1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			d := tt.make(t, l)
			before := d.sum()
			l.settings(tt.settings)
			l.write("cmdline", tt.cmdline)
			wantText(t, l.run(), tt.want)
			l.wantMove(strings.Fields(tt.moves)...)
			if d.sum() != before {
				t.Error("the disk has changed")
			}
		})
	}
}

// TestInstanceStoreTaken has what such a disk may hold of which nobody knows what it is, and
// what the user gives up.
func TestInstanceStoreTaken(t *testing.T) {
	for _, tt := range []struct {
		name, settings string
		make           func(*testing.T, *disk)
	}{
		{"noise", "device: instance-store\n", func(t *testing.T, d *disk) {
			poke(t, d, []byte("\x7f\x03noise"), 0)
			poke(t, d, []byte("noise"), 255*mib+77)
		}},
		{"wipe", "device: instance-store\nwipe: true\n", func(t *testing.T, d *disk) { command(t, "mkntfs", "-q", "-F", "-f", d.loop) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			d := l.instanceDisk("nvme1n1", "1")
			tt.make(t, d)
			l.settings(tt.settings)
			wantText(t, l.run(), "made the data partition /dev/nvme1n1p1")
			l.wantMove("/dev/nvme1n1p1")
			d.sound(1)
		})
	}
}

// TestInstanceStoreBesideDataPartition has a node that stays where it is, and says so.
func TestInstanceStoreBesideDataPartition(t *testing.T) {
	l := newLab(t)
	d := l.dataDisk("nvme0n1", 256*mib, 512)
	own := l.instanceDisk("nvme1n1", "1")
	before := own.sum()
	l.settings("device: instance-store\n")
	l.show()
	unmount := l.inUse(d.part(2))
	defer unmount()
	wantText(t, l.run(), "the node has the data partition /dev/nvme0n1p2, and stays there")
	l.wantMove()
	if own.sum() != before {
		t.Error("the instance's disk has changed")
	}
}
