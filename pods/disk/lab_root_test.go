//go:build root

// These tests run the service, without the privileges that it gives up, against
// loop devices that hold what real tools wrote. They take root, loop devices and
// Debian's e2fsprogs, util-linux, fdisk, gdisk, ntfs-3g, lvm2 and
// cryptsetup-bin:
//
//	CGO_ENABLED=0 go test -tags root ./pods/disk

package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/internal/control"
	"kios/internal/gpt"
	testlab "kios/test/lab"
)

// serviceVar makes this program the service, whose flags are in it.
const serviceVar = "KIOS_TEST_DISK"

func TestMain(m *testing.M) {
	if args, found := os.LookupEnv(serviceVar); found {
		os.Exit(beService(strings.Fields(args)))
	}
	os.Exit(m.Run())
}

func beService(args []string) int {
	s := &Service{Log: log.New(os.Stdout, "", 0)}
	flags := flag.NewFlagSet("disk", flag.ExitOnError)
	for _, f := range []struct {
		name string
		to   *string
	}{{"dev", &s.Dev}, {"sys", &s.Sys}, {"data", &s.Data}, {"settings", &s.Settings}, {"cmdline", &s.Cmdline}, {"boot", &s.Boot}, {"control", &s.Control}} {
		flags.StringVar(f.to, f.name, "", "")
	}
	flags.DurationVar(&s.patience, "patience", 0, "")
	_ = flags.Parse(args)
	s.quiet = 20 * time.Millisecond
	err := keepPrivileges()
	if err == nil {
		err = s.Run(context.Background())
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	status, _ := os.ReadFile("/proc/self/status")
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	peak, _, _ = strings.Cut(peak, "\n")
	fmt.Printf("(memory at most: %s)\n", strings.TrimSpace(peak))
	return 0
}

// lab is a machine with disks: a /dev and a /sys that show them and no others,
// so that nothing of the machine that runs the tests is in reach.
type lab struct {
	t        *testing.T
	dir      string
	data     string // a directory that is on the mounted data partition
	patience string // how long the service waits to be asked
	disks    []*disk
	mu       sync.Mutex
	requests []string
}

// disk is one of the lab's, a loop device.
type disk struct {
	lab   *lab
	name  string // in the lab
	loop  string // /dev/loopN
	image string
}

func newLab(t *testing.T) *lab {
	testlab.NeedRoot(t)
	l := &lab{t: t, dir: t.TempDir(), patience: "100ms"}
	l.data = l.path("none")
	for _, dir := range []string{"dev", "sys/block", "sys/class/block", "sys/dev/block", "sys/devices", "etc"} {
		testlab.Must(t, os.MkdirAll(l.path(dir), 0o755))
	}
	l.write("cmdline", "quiet\n")
	l.write("boot", gpt.GUID{}.String()+"\n")
	server, err := control.Listen(l.path("control"), func(device string) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.requests = append(l.requests, device)
		return nil
	})
	testlab.Must(t, err)
	go server.Run(t.Logf)
	t.Cleanup(func() { server.Close() })
	return l
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) write(name, text string) {
	l.t.Helper()
	testlab.WriteFile(l.t, l.path(name), text)
}

// settings writes /etc/kios/disk.yaml.
func (l *lab) settings(text string) { l.write("etc/disk.yaml", text) }

// disk adds a disk that is zero, and that the lab's sysfs shows as a virtio disk.
func (l *lab) disk(name string, size int64, sectorSize int) *disk {
	l.t.Helper()
	return l.diskAt("pci0000:00/0000:00:05.0/virtio1", name, size, sectorSize)
}

// diskAt adds a disk that is zero and hangs at a bus.
func (l *lab) diskAt(bus, name string, size int64, sectorSize int) *disk {
	l.t.Helper()
	dir := filepath.Join("sys/devices", bus, "block", name)
	testlab.Must(l.t, os.MkdirAll(l.path(dir), 0o755))
	l.link(l.path(dir), "sys/block/"+name)
	d := &disk{lab: l, name: name, image: l.path(name + ".img")}
	testlab.Must(l.t, os.WriteFile(d.image, nil, 0o600))
	testlab.Must(l.t, os.Truncate(d.image, size))
	d.attach(sectorSize)
	l.t.Cleanup(d.detach)
	l.disks = append(l.disks, d)
	return d
}

func (d *disk) attach(sectorSize int) {
	d.lab.t.Helper()
	d.loop = strings.TrimSpace(command(d.lab.t, "losetup", "--show", "--find", "--partscan", "--sector-size", fmt.Sprint(sectorSize), d.image))
}

func (d *disk) detach() {
	_ = exec.Command("partx", "--delete", d.loop).Run()
	command(d.lab.t, "losetup", "--detach", d.loop)
}

// resize makes the disk larger, as a cloud's owner does.
func (d *disk) resize(size int64) {
	d.lab.t.Helper()
	testlab.Must(d.lab.t, os.Truncate(d.image, size))
	command(d.lab.t, "losetup", "--set-capacity", d.loop)
}

// part returns the loop device of a partition.
func (d *disk) part(number int) string { return fmt.Sprintf("%sp%d", d.loop, number) }

// sum is the hash of everything on the disk.
func (d *disk) sum() string {
	d.lab.t.Helper()
	command(d.lab.t, "blockdev", "--flushbufs", d.loop)
	f, err := os.Open(d.image)
	testlab.Must(d.lab.t, err)
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		d.lab.t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// show brings the lab's /dev and /sys up to date with the kernel's.
func (l *lab) show() {
	for _, d := range l.disks {
		l.showDevice(filepath.Base(d.loop), "block/"+d.name, d.name)
		real := "/sys/block/" + filepath.Base(d.loop)
		for _, file := range []string{"removable", "ro", "hidden", "queue/logical_block_size"} {
			text, _ := os.ReadFile(filepath.Join(real, file))
			if _, err := os.Stat(l.path("sys/block/" + d.name + "/" + file)); err != nil {
				l.write("sys/block/"+d.name+"/"+file, string(text))
			}
		}
		parts, _ := filepath.Glob(filepath.Join(real, filepath.Base(d.loop)+"p*"))
		for _, part := range parts {
			number := readText(filepath.Join(part, "partition"))
			name := d.name + number
			if last := d.name[len(d.name)-1]; '0' <= last && last <= '9' {
				name = d.name + "p" + number
			}
			dir := "block/" + d.name + "/" + name
			l.showDevice(filepath.Base(part), dir, name)
			l.write("sys/"+dir+"/partition", number)
			l.write("sys/"+dir+"/start", readText(filepath.Join(part, "start")))
		}
	}
}

// showDevice makes what every block device has.
func (l *lab) showDevice(loop, dir, name string) {
	l.t.Helper()
	l.write("sys/"+dir+"/size", readText("/sys/class/block/"+loop+"/size"))
	l.node("/dev/"+loop, "dev/"+name)
	l.link(l.path("sys/"+dir), "sys/class/block/"+name)
	l.link(l.path("sys/"+dir), "sys/dev/block/"+readText("/sys/class/block/"+loop+"/dev"))
}

func (l *lab) link(to, name string) {
	l.t.Helper()
	os.Remove(l.path(name))
	testlab.Must(l.t, os.Symlink(to, l.path(name)))
}

// node makes another node of a device.
func (l *lab) node(of, name string) {
	l.t.Helper()
	var st unix.Stat_t
	testlab.Must(l.t, unix.Stat(of, &st))
	os.Remove(l.path(name))
	testlab.Must(l.t, unix.Mknod(l.path(name), unix.S_IFBLK|0o600, int(st.Rdev)))
}

// run runs the service once, and returns what it logged.
func (l *lab) run() string {
	l.t.Helper()
	out, code := l.runCode()
	if code != 0 {
		l.t.Fatalf("the service ended with %d:\n%s", code, out)
	}
	return out
}

func (l *lab) runCode() (string, int) {
	l.t.Helper()
	cmd := l.service()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		l.t.Fatal(err)
	}
	l.t.Logf("\n%s", bytes.TrimSpace(out))
	if strings.Contains(string(out), l.path("dev")) {
		l.t.Errorf("the log has a path that the user does not know")
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// service is the service in a process of its own. Only tests with disks of an instance wait.
func (l *lab) service() *exec.Cmd {
	l.t.Helper()
	l.show()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{serviceVar + "=" + strings.Join([]string{
		"-dev", l.path("dev"), "-sys", l.path("sys"), "-data", l.data, "-settings", l.path("etc/disk.yaml"), "-patience", l.patience,
		"-cmdline", l.path("cmdline"), "-boot", l.path("boot"), "-control", l.path("control")}, " ")}
	return cmd
}

// moved returns the data partitions that PID 1 was told of since the last call.
func (l *lab) moved() (devices []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	devices, l.requests = l.requests, nil
	return devices
}

// wantMove fails unless PID 1 was told of this one partition, or of none.
func (l *lab) wantMove(want ...string) {
	l.t.Helper()
	if got := l.moved(); strings.Join(got, " ") != strings.Join(want, " ") {
		l.t.Errorf("PID 1 was told of %q, want %q", got, want)
	}
}

// wantText fails unless the log has it.
func wantText(t *testing.T, log, want string) {
	t.Helper()
	if !strings.Contains(log, want) {
		t.Errorf("the log does not have %q:\n%s", want, log)
	}
}

// command runs a tool, which has to succeed.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// mount mounts a partition and returns where.
func (l *lab) mount(device string) (dir string, unmount func()) {
	l.t.Helper()
	dir = filepath.Join(l.t.TempDir(), "mnt")
	testlab.Must(l.t, os.MkdirAll(dir, 0o755))
	command(l.t, "mount", "-t", "ext4", device, dir)
	var once sync.Once
	unmount = func() { once.Do(func() { command(l.t, "umount", dir) }) }
	l.t.Cleanup(unmount)
	return dir, unmount
}
