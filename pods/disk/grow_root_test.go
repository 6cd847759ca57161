//go:build root

package disk

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"kios/internal/gpt"
	testlab "kios/test/lab"
)

const gib = 1 << 30

// dataDisk adds a disk as "kios image" makes them, and has the machine boot from it: with
// an EFI system partition and a data partition, which has the GPT number 2.
func (l *lab) dataDisk(name string, size int64, sectorSize int) *disk {
	l.t.Helper()
	d := l.disk(name, size, sectorSize)
	esp := gpt.GUID([]byte(fmt.Sprintf("%-16s", name)))
	l.write("boot", esp.String()+"\n")
	command(l.t, "sgdisk", "--new=1:0:+32M", "--typecode=1:ef00", "--partition-guid=1:"+esp.String(), "--new=2:0:0", "--typecode=2:"+gpt.TypeKiosData.String(), "--change-name=2:kiOS data", d.loop)
	command(l.t, "partx", "--update", d.loop)
	command(l.t, "mke2fs", "-q", "-t", "ext4", "-i", "16384", "-L", "KIOS-DATA", d.part(2))
	return d
}

// inUse mounts the data partition, as PID 1 does.
func (l *lab) inUse(device string) (unmount func()) {
	l.t.Helper()
	dir, unmount := l.mount(device)
	l.data = filepath.Join(dir, "meta")
	testlab.Must(l.t, os.MkdirAll(l.data, 0o755))
	return unmount
}

// fsSize is the size of the mounted file system in bytes.
func (l *lab) fsSize() int64 {
	l.t.Helper()
	var st unix.Statfs_t
	testlab.Must(l.t, unix.Statfs(l.data, &st))
	return int64(st.Blocks) * st.Bsize
}

// sound asks the tools of others for their opinion of the disk and a partition.
func (d *disk) sound(number int) {
	d.lab.t.Helper()
	command(d.lab.t, "e2fsck", "-fn", d.part(number))
	if out := command(d.lab.t, "sgdisk", "-v", d.loop); !strings.Contains(out, "No problems found") {
		d.lab.t.Errorf("sgdisk says:\n%s", out)
	}
}

// writer writes blocks with known contents to a file, and syncs now and then,
// until it is told to stop.
type writer struct {
	path string
	stop chan struct{}
	done chan error
	end  sync.Once
	n    int
}

func writerTo(t *testing.T, path string) *writer {
	w := &writer{path: path, stop: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		w.done <- w.write()
		close(w.done)
	}()
	t.Cleanup(func() { // before the file system is unmounted
		w.end.Do(func() { close(w.stop) })
		<-w.done
	})
	return w
}

func block(n int) []byte {
	sum := sha256.Sum256(fmt.Append(nil, n))
	return bytes.Repeat(sum[:], 512) // 16 KiB
}

func (w *writer) write() error {
	f, err := os.Create(w.path)
	if err != nil {
		return err
	}
	defer f.Close()
	for ; ; w.n++ {
		select {
		case <-w.stop:
			return f.Sync()
		default:
		}
		at := int64(w.n%8192) * 16384 // 128 MiB, again and again
		if _, err := f.WriteAt(block(w.n), at); err != nil {
			return err
		}
		if w.n%64 == 0 {
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
}

// verify stops the writer and compares what it wrote.
func (w *writer) verify(t *testing.T, minimum int) {
	t.Helper()
	w.end.Do(func() { close(w.stop) })
	if err := <-w.done; err != nil {
		t.Fatalf("the writer: %v", err)
	}
	got, err := os.ReadFile(w.path)
	testlab.Must(t, err)
	if w.n < minimum {
		t.Errorf("%d blocks were written, too few to show something", w.n)
	}
	for n := max(0, w.n-8192); n < w.n; n++ {
		if at := n % 8192 * 16384; !bytes.Equal(got[at:at+16384], block(n)) {
			t.Fatalf("block %d has other contents than were written", n)
		}
	}
}

// needResize skips a test where even root may not grow a mounted ext4. It runs
// in the virtual machine of vm_test.go.
func needResize(t *testing.T) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	testlab.Must(t, unix.Capget(&header, &data[0]))
	if data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		t.Skip("this takes CAP_SYS_RESOURCE, which root does not have here: run it in a virtual machine (test/vm)")
	}
}

func TestGrowInUse(t *testing.T) {
	needResize(t)
	for _, tt := range []struct {
		disk, part string
		sectorSize int
	}{{"vda", "/dev/vda2", 512}, {"nvme0n1", "/dev/nvme0n1p2", 4096}} {
		t.Run(fmt.Sprint(tt.sectorSize), func(t *testing.T) {
			l := newLab(t)
			d := l.dataDisk(tt.disk, 512*mib, tt.sectorSize)
			unmount := l.inUse(d.part(2))
			w := writerTo(t, filepath.Join(l.data, "file"))
			d.resize(40 * gib)
			wantText(t, l.run(), "the data partition "+tt.part+" grew from ")
			if got := l.fsSize(); got < 39*gib {
				t.Errorf("the file system has %s", size(got))
			}
			before := l.fsSize()
			wantText(t, l.run(), "no free space to grow into")
			if l.fsSize() != before {
				t.Error("a second run changed the size")
			}
			w.verify(t, 10)
			l.wantMove()
			unmount()
			d.sound(2)
		})
	}
}

// TestGrowResumes begins where a power cut or a kill may have ended a run.
func TestGrowResumes(t *testing.T) {
	needResize(t)
	plan := func(t *testing.T, f *os.File, d *disk) *gpt.Growth {
		sectors := int64(2*gib) / 512
		g, err := gpt.Grow(f, 512, uint64(sectors), 2)
		testlab.Must(t, err)
		return g
	}
	apply := func(t *testing.T, f *os.File, patches []gpt.Patch) {
		testlab.Must(t, gpt.Apply(f, 512, patches, f.Sync))
	}
	tests := map[string]func(t *testing.T, f *os.File, d *disk){
		"table": func(t *testing.T, f *os.File, d *disk) { apply(t, f, plan(t, f, d).Patches) },
		"table half": func(t *testing.T, f *os.File, d *disk) {
			apply(t, f, plan(t, f, d).Patches[:3])
		},
		"table and kernel": func(t *testing.T, f *os.File, d *disk) {
			g := plan(t, f, d)
			apply(t, f, g.Patches)
			testlab.Must(t, resizePartition(f, 2, int64(g.Partition.FirstLBA)*512, int64(g.Partition.Sectors())*512))
		},
	}
	for name, before := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			d := l.dataDisk("sda", 256*mib, 512)
			unmount := l.inUse(d.part(2))
			d.resize(2 * gib)
			f, err := os.OpenFile(d.loop, os.O_RDWR, 0)
			testlab.Must(t, err)
			defer f.Close()
			before(t, f, d)
			wantText(t, l.run(), "the data partition /dev/sda2 grew from ")
			if got := l.fsSize(); got < 1800*mib {
				t.Errorf("the file system has %s", size(got))
			}
			unmount()
			d.sound(2)
		})
	}
}

func TestGrowWholeDisk(t *testing.T) {
	needResize(t)
	l := newLab(t)
	d := l.disk("vdb", 256*mib, 512)
	command(t, "mke2fs", "-q", "-t", "ext4", d.loop)
	l.inUse(d.loop)
	d.resize(gib)
	wantText(t, l.run(), "the data partition /dev/vdb grew from 256 MiB to 1.0 GiB")
}

func TestGrowRefuses(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"not last", "label: gpt\nsize=100MiB, type=" + gpt.TypeKiosData.String() + "\nsize=10MiB\n",
			"the data partition /dev/vda1 keeps its size: /dev/vda: grow partition 1: another partition lies behind it"},
		{"MBR", "label: dos\nsize=100MiB\n",
			"the data partition /dev/vda1 keeps its size: /dev/vda has no GPT, and other tables are not changed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			d := l.disk("vda", 200*mib, 512)
			sfdisk(t, d, tt.script)
			command(t, "mke2fs", "-q", "-t", "ext4", d.part(1))
			l.inUse(d.part(1))
			d.resize(gib)
			head := func() string {
				f, err := os.Open(d.loop)
				testlab.Must(t, err)
				defer f.Close()
				b := make([]byte, mib)
				_, _ = f.ReadAt(b, 0)
				return string(b)
			}
			before := head()
			wantText(t, l.run(), tt.want)
			if head() != before {
				t.Error("the table has changed")
			}
		})
	}
}

func sfdisk(t *testing.T, d *disk, script string) {
	t.Helper()
	path := d.lab.path("sfdisk")
	d.lab.write("sfdisk", script)
	command(t, "sh", "-c", fmt.Sprintf("sfdisk -q %s < %s", d.loop, path))
	command(t, "partx", "--update", d.loop)
}
