//go:build root

package disk

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/internal/datapart"
	testlab "kios/test/lab"
)

// mapper shows the lab the kernel's device mapper and what it makes.
func (l *lab) mapper() {
	l.t.Helper()
	const control = "/dev/mapper/control"
	if _, err := os.Stat(control); err != nil {
		l.t.Skip("this kernel has no device mapper; test/vm runs this test on one that has")
	}
	testlab.Must(l.t, os.MkdirAll(l.path("dev/mapper"), 0o755))
	l.link(control, "dev/mapper/control")
	for i := range 16 { // they come while the service runs
		name := fmt.Sprintf("dm-%d", i)
		l.link("/dev/"+name, "dev/"+name)
		for _, dir := range []string{"sys/block/", "sys/class/block/"} {
			l.link("/sys/devices/virtual/block/"+name, dir+name)
		}
	}
	l.t.Cleanup(l.disassemble)
}

// disassemble is what a reboot does.
func (l *lab) disassemble() {
	l.t.Helper()
	s := Service{Dev: l.path("dev"), Sys: l.path("sys")}
	if s.system().Stripes() == "" {
		return
	}
	m, err := s.openMapper()
	testlab.Must(l.t, err)
	defer m.control.Close()
	testlab.Must(l.t, m.remove(datapart.StripesName))
}

// striped is the device that the lab's service has made.
func (l *lab) striped() string {
	return "/dev/" + datapart.System{Sys: "/sys", Dev: "/dev"}.Stripes()
}

func TestStripes(t *testing.T) {
	l := newLab(t)
	l.mapper()
	l.ebs("nvme0n1")
	second, first := l.instanceDisk("nvme1n1", "7"), l.instanceDisk("nvme2n1", "3")
	poke(t, second, []byte("noise"), 0)
	l.settings("device: instance-store\nstriped: true\n")
	wantText(t, l.run(), "of all disks of this instance, 512 MiB")
	node := l.striped()
	l.wantMove(node)
	command(t, "e2fsck", "-f", "-n", node)

	text := bytes.Repeat([]byte("striped "), 1<<18) // 2 MiB, so on both
	dir, unmount := l.mount(node)
	testlab.Must(t, os.WriteFile(filepath.Join(dir, "file"), text, 0o600))
	l.data = dir
	l.link("/sys/devices/virtual/block/"+filepath.Base(node), "sys/dev/block/"+readText("/sys/class/block/"+filepath.Base(node)+"/dev"))
	if log := l.run(); !strings.Contains(log, "no free space to grow into") || strings.Contains(log, "instance") {
		t.Errorf("in use, the service says:\n%s", log)
	}
	unmount()
	l.data = l.path("none")
	for _, d := range []*disk{first, second} {
		if image, err := os.ReadFile(d.image); err != nil || !bytes.Contains(image, text[:4096]) {
			t.Errorf("%s has nothing of the file: %v", d.name, err)
		}
	}

	l.disassemble()
	l.settings("")
	l.wantMove()
	wantText(t, l.run(), "nothing has asked")
	l.settings("device: instance-store\nstriped: true\n")
	l.run()
	l.wantMove(l.striped())
	dir, _ = l.mount(l.striped())
	if got, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || !bytes.Equal(got, text) {
		t.Errorf("after a reboot the file is another one: %v", err)
	}
}

// TestStripesPowerCut is cut before the file system was ever mounted.
func TestStripesPowerCut(t *testing.T) {
	l := newLab(t)
	l.mapper()
	d := l.instanceDisk("nvme1n1", "1")
	l.instanceDisk("nvme2n1", "2")
	l.settings("device: instance-store\nstriped: true\n")
	l.run()
	l.disassemble()
	poke(t, d, make([]byte, 64<<10), 4096) // descriptors of groups
	wantText(t, l.run(), "made the data partition")
	command(t, "e2fsck", "-f", "-n", l.striped())
}

// What one of the disks holds keeps all of them from being taken.
func TestStripesLeftAlone(t *testing.T) {
	for _, tt := range []struct{ name, cmdline, want string }{
		{"file system", "", `/dev/nvme2n1 is not blank but holds an ext4 file system "home"`},
		{"command line", "datapart=/dev/vda9", "names another data partition"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			first, second := l.instanceDisk("nvme1n1", "1"), l.instanceDisk("nvme2n1", "2")
			poke(t, first, []byte("noise"), 0)
			command(t, "mke2fs", "-q", "-F", "-t", "ext4", "-L", "home", second.loop)
			before := first.sum() + second.sum()
			l.settings("device: instance-store\nstriped: true\n")
			l.write("cmdline", tt.cmdline)
			log := l.run()
			wantText(t, log, tt.want)
			if strings.Contains(log, "wiping") || first.sum()+second.sum() != before {
				t.Error("a disk has changed, or was said to")
			}
			l.wantMove()
		})
	}
}

// One disk needs no stripes, nor the device mapper.
func TestStripesOfOneDisk(t *testing.T) {
	l := newLab(t)
	l.instanceDisk("nvme1n1", "1")
	l.settings("device: instance-store\nstriped: true\n")
	wantText(t, l.run(), "made the data partition /dev/nvme1n1p1")
	l.wantMove("/dev/nvme1n1p1")
}
