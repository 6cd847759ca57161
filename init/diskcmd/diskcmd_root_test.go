//go:build root

package diskcmd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/test/lab"

	"golang.org/x/sys/unix"
)

const layoutVariable = "KIOS_TEST_IMAGES"

// The test binary is one of the programs under the program's name.
func TestMain(m *testing.M) {
	if run, known := Commands[filepath.Base(os.Args[0])]; known {
		imagesDir = os.Getenv(layoutVariable)
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// tool runs one of the programs, as the kubelet does, and returns its exit code and
// what it says.
func tool(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = args
	cmd.Env = append(os.Environ(), layoutVariable+"="+images(t))
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), string(out)
	}
	lab.Must(t, err)
	return 0, string(out)
}

// images returns the layout that the build has made. A host's kernel before Linux 6.12
// mounts EROFS from devices only: there the layer is a link to one.
func images(t *testing.T) string {
	t.Helper()
	layout, dir := lab.Out(t, "images"), t.TempDir()
	layer, err := findLayer(layout, toolsLayer)
	lab.Must(t, err)
	err = unix.Mount(layer, dir, "erofs", unix.MS_RDONLY, "")
	if !errors.Is(err, unix.ENOTBLK) {
		lab.Must(t, err)
		lab.Must(t, unix.Unmount(dir, 0))
		return layout
	}
	device, err := attach(layer)
	lab.Must(t, err)
	t.Cleanup(func() { lab.Must(t, detach([]string{device})) })
	lab.Must(t, os.CopyFS(dir, os.DirFS(layout)))
	link, err := findLayer(dir, toolsLayer)
	lab.Must(t, err)
	lab.Must(t, os.Remove(link))
	lab.Must(t, os.Symlink(device, link))
	return dir
}

// must runs one of the programs, which has to succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	code, said := tool(t, args...)
	if code != 0 {
		t.Fatalf("%s = %d, %s", strings.Join(args, " "), code, said)
	}
	return said
}

// disk returns a loop device over a file of zeros. losetup makes and removes it.
func disk(t *testing.T, mib int64) (device, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "disk")
	lab.WriteFile(t, file, "")
	lab.Must(t, os.Truncate(file, mib<<20))
	device = strings.TrimSpace(must(t, "losetup", "-f", "--show", file))
	t.Cleanup(func() { must(t, "losetup", "-d", device) })
	return device, file
}

func mounted(t *testing.T, device, fstype string) string {
	t.Helper()
	dir := t.TempDir()
	lab.Must(t, unix.Mount(device, dir, fstype, 0, ""))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// blkidArgs are those of k8s.io/mount-utils.
func blkidArgs(device string) []string {
	return []string{"blkid", "-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", device}
}

// TestFormatAsKubelet makes the calls of FormatAndMount in k8s.io/mount-utils.
func TestFormatAsKubelet(t *testing.T) {
	device, _ := disk(t, 64)
	if code, said := tool(t, blkidArgs(device)...); code != 2 {
		t.Fatalf("blkid of an empty disk = %d, %s, want 2", code, said)
	}
	must(t, "mkfs.ext4", "-F", "-m0", device)
	if said := must(t, blkidArgs(device)...); !strings.Contains(said, "TYPE=ext4\n") {
		t.Errorf("blkid says %q, want TYPE=ext4", said)
	}
	must(t, "fsck", "-a", device)
	dir := mounted(t, device, "ext4")
	lab.WriteFile(t, filepath.Join(dir, "file"), "x")
	if code, said := tool(t, "mkfs.ext4", "-F", "-m0", device); code == 0 || !strings.Contains(said, "nobody else may use") {
		t.Errorf("mkfs.ext4 of a mounted device = %d, %s, want a refusal", code, said)
	}
}

// A disk that holds something is never taken for an empty one.
func TestBlkidSeesTables(t *testing.T) {
	device, _ := disk(t, 8)
	lab.Must(t, os.WriteFile(device, append(make([]byte, 510), 0x55, 0xaa), 0))
	cmd := exec.Command("sfdisk", "-q", "--no-reread", device)
	cmd.Stdin = strings.NewReader("label: gpt\n,,\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v, %s", err, out)
	}
	if said := must(t, blkidArgs(device)...); !strings.Contains(said, "PTTYPE=gpt\n") {
		t.Errorf("blkid says %q, want PTTYPE=gpt", said)
	}
}

// fsck corrects what is safe to correct, and leaves file systems of others alone.
func TestFsck(t *testing.T) {
	device, _ := disk(t, 64)
	if said := must(t, "fsck", "-a", device); !strings.Contains(said, "is not checked") {
		t.Errorf("fsck of an empty disk says %q", said)
	}
	must(t, "mkfs.ext4", "-F", "-m0", device)
	out, err := exec.Command("debugfs", "-w", "-R", "ssv state 2", device).CombinedOutput()
	if err != nil {
		t.Fatalf("debugfs: %v, %s", err, out)
	}
	if code, said := tool(t, "fsck", "-a", device); code != 1 {
		t.Errorf("fsck of a file system with errors = %d, %s, want 1, corrected", code, said)
	}
	if said := must(t, "fsck", "-a", device); strings.Contains(said, "ERROR") {
		t.Errorf("fsck of a sound file system says %q", said)
	}
}

const sandboxVariable = "KIOS_TEST_SANDBOX"

// TestSandbox looks at what a program in it is and sees. Nobody comes back from there,
// so another process goes.
func TestSandbox(t *testing.T) {
	if device := os.Getenv(sandboxVariable); device != "" {
		layer, err := findLayer(os.Getenv(layoutVariable), toolsLayer)
		lab.Must(t, err)
		lab.Must(t, sandbox{device: device}.enter(layer, "/dev/disk"))
		fmt.Printf("sandbox: %v\n", lookAround())
		os.Exit(0)
	}
	device, _ := disk(t, 8)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSandbox$")
	cmd.Env = append(os.Environ(), sandboxVariable+"="+device, layoutVariable+"="+images(t))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "sandbox: <nil>") {
		t.Errorf("%v, %s", err, out)
	}
}

// lookAround says what is wrong with the sandbox that the calling goroutine is in.
func lookAround() error {
	var errs []error
	for _, path := range []string{"/proc", "/work", "/bin", "/sys"} {
		if _, err := os.Stat(path); err == nil {
			errs = append(errs, fmt.Errorf("%s is there", path))
		}
	}
	f, err := os.OpenFile("/dev/disk", os.O_RDWR, 0)
	if err == nil {
		f.Close()
	}
	errs = append(errs, err)
	number, err := deviceNumber("/dev/disk")
	if uid, _, _ := unix.RawSyscall(unix.SYS_GETEUID, 0, 0, 0); err != nil || uid != userOf(number) {
		errs = append(errs, fmt.Errorf("its user is %d", uid))
	}
	if err := unix.Kill(1, 0); !errors.Is(err, unix.EPERM) {
		errs = append(errs, fmt.Errorf("PID 1 can be sent signals: %w", err))
	}
	if err := unix.Mknod("/dev/other", unix.S_IFBLK|0o600, 0); !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		errs = append(errs, fmt.Errorf("it can make devices: %w", err))
	}
	return errors.Join(errs...)
}

// TestGrow grows mounted file systems to the size of their devices, as the kubelet
// does when a claim asks for more.
func TestGrow(t *testing.T) {
	for _, fstype := range []string{"ext4", "xfs"} {
		t.Run(fstype, func(t *testing.T) {
			if fstype == "ext4" && !mayGrow(t) {
				t.Skip("the kernel grows ext4 only for CAP_SYS_RESOURCE, which this root does not have")
			}
			device, file := disk(t, 320)
			if out, err := exec.Command("mkfs."+fstype, device).CombinedOutput(); err != nil {
				t.Fatalf("mkfs.%s: %v, %s (make deps installs what is missing)", fstype, err, out)
			}
			dir := mounted(t, device, fstype)
			before := blocks(t, dir)
			lab.Must(t, os.Truncate(file, 640<<20))
			loop, err := os.Open(device)
			lab.Must(t, err)
			defer loop.Close()
			lab.Must(t, unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_CAPACITY, 0))
			if got := must(t, "blockdev", "--getsize64", device); got != fmt.Sprintln(640<<20) {
				t.Errorf("the device has %s bytes", got)
			}
			for range 2 { // the second time there is nothing to do
				if fstype == "xfs" {
					must(t, "xfs_growfs", "-d", dir)
				} else {
					must(t, "resize2fs", device)
				}
			}
			if after := blocks(t, dir); after < before*3/2 {
				t.Errorf("%d blocks before and %d after", before, after)
			}
		})
	}
}

func mayGrow(t *testing.T) bool {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	lab.Must(t, unix.Capget(&header, &data[0]))
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

func blocks(t *testing.T, dir string) uint64 {
	t.Helper()
	var st unix.Statfs_t
	lab.Must(t, unix.Statfs(dir, &st))
	return st.Blocks
}

// TestLoopOfDevice does with a block device what the kubelet does with that of a raw
// block volume: it finds the loop device again by the path of its backing file.
func TestLoopOfDevice(t *testing.T) {
	device, _ := disk(t, 8)
	pod := filepath.Join(t.TempDir(), "pod")
	lab.WriteFile(t, pod, "")
	lab.Must(t, unix.Mount(device, pod, "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(pod, unix.MNT_DETACH) })
	lock := strings.TrimSpace(must(t, "losetup", "--show", "-f", pod))
	backing := lab.ReadFile(t, filepath.Join("/sys/block", filepath.Base(lock), "loop/backing_file"))
	if ro := lab.ReadFile(t, filepath.Join("/sys/block", filepath.Base(lock), "ro")); ro != "1\n" {
		t.Errorf("%s can be written to (ro: %q): its pod could not mount the device", lock, ro)
	}
	if strings.TrimSpace(backing) != pod {
		t.Errorf("the backing file of %s is %q, want %s", lock, backing, pod)
	}
	must(t, "losetup", "-d", lock)
	// The kernel detaches it when the last one closes it, such as a test beside this one that
	// looks at all disks; and then others may take it.
	lab.Eventually(t, time.Minute, "the loop device is detached", func() error {
		backing, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(lock), "loop/backing_file"))
		if err == nil && strings.TrimSpace(string(backing)) == pod {
			return errors.New("it is still attached")
		}
		return nil
	})
	if got := must(t, "blockdev", "--getro", device); got != "0\n" {
		t.Errorf("blockdev --getro = %q, want 0", got)
	}
}
