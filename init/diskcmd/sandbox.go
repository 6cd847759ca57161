package diskcmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// userOf returns the user of a device's sandbox. Each device has its own: programs of one
// user can trace each other, and so one that was taken over would get at other devices.
// Nobody keeps a pod from asking for such a user, but no image names one. All numbers of
// block devices that the kernel gives out have a user: majors are below 512.
func userOf(number uint64) uintptr {
	const firstUser = 0x70000000
	return firstUser + uintptr(unix.Major(number)%512)<<18 + uintptr(unix.Minor(number)%(1<<18))
}

// sandbox is a program of the tools' image and the one device that it works on. The
// contents of the device are a stranger's, and a program that they take over can do
// nothing but write to that device: it has a user of its own, no capability and no way
// to get one, a root with the image and the device, no network and bounded memory.
//
// There is no process in between: this one turns into the program, step by step.
type sandbox struct {
	program  string
	options  []string
	device   string
	readOnly bool
}

const (
	// memoryLimit is that of the pod disk: e2fsck takes 220 MB for 10 TiB.
	memoryLimit = 1 << 30

	// place is where the root of the sandbox is put together, in a mount namespace of
	// its own.
	place = "/tmp"
)

// run returns only if the program cannot be started.
func (s sandbox) run() error {
	layer, err := findLayer(imagesDir, toolsLayer)
	if err != nil {
		return err
	}
	return s.runFrom(layer)
}

// runFrom takes the program from an EROFS image.
func (s sandbox) runFrom(layer string) error {
	name := filepath.Join("/dev", filepath.Base(s.device))
	if err := s.enter(layer, name); err != nil {
		return fmt.Errorf("make a sandbox for %s: %w", filepath.Base(s.program), err)
	}
	args := append(append([]string{s.program}, s.options...), name)
	env := []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin", "BLKID_FILE=/dev/null"}
	// Last, since a Go program reserves more addresses than this.
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: memoryLimit, Max: memoryLimit}); err != nil {
		return err
	}
	return fmt.Errorf("run %s: %w", s.program, unix.Exec(s.program, args, env))
}

// enter takes the calling goroutine into the sandbox, where the device has a name.
func (s sandbox) enter(layer, name string) error {
	number, err := deviceNumber(s.device)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // namespaces and privileges are those of a thread
	for _, step := range []func() error{
		limit,
		func() error { return s.makeRoot(layer, name, number) },
		enterRoot,
		func() error { return dropPrivilege(userOf(number)) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// limit gives the program less than the kubelet has, which has all.
func limit() error {
	// The kubelet's score spares it; if memory is short, this is to end first.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return err
	}
	return errors.Join(
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
		unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}),
	)
}

// makeRoot lays out a root with the image's files and the device.
func (s sandbox) makeRoot(layer, name string, number uint64) error {
	image, err := os.Open(layer) // what is mounted here may hide its path
	if err != nil {
		return err
	}
	defer image.Close()
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", place, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=64k"); err != nil {
		return err
	}
	if err := makeDevices(place, name, number, s.readOnly); err != nil {
		return fmt.Errorf("make the devices: %w", err)
	}
	return showImage(image)
}

// makeDevices makes the node of the device that the program may open, and of /dev/null,
// without which e2fsck does not begin.
func makeDevices(root, name string, number uint64, readOnly bool) error {
	mode := uint32(0o600)
	if readOnly {
		mode = 0o400
	}
	null, user := filepath.Join(root, "dev/null"), int(userOf(number))
	return errors.Join(
		os.Mkdir(filepath.Join(root, "dev"), 0o755),
		unix.Mknod(filepath.Join(root, name), unix.S_IFBLK|mode, int(number)),
		os.Chown(filepath.Join(root, name), user, user),
		unix.Mknod(null, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
		os.Chown(null, user, user),
	)
}

// showImage shows the image's files in the root.
func showImage(layer *os.File) error {
	if err := os.Mkdir(place+"/image", 0o755); err != nil {
		return err
	}
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", layer.Fd()), place+"/image", "erofs", flags, ""); err != nil {
		return fmt.Errorf("mount the image %s: %w", layer.Name(), err)
	}
	return linkAll(place, "image")
}

// linkAll gives a root a link to each file at the top of a directory in it. Which these
// are depends on the processor: programs name their interpreter in /lib or in /lib64.
func linkAll(root, dir string) error {
	files, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Symlink(filepath.Join(dir, f.Name()), filepath.Join(root, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

// enterRoot changes the root and forgets the one before, see pivot_root(2).
func enterRoot() error {
	if err := unix.Chdir(place); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// dropPrivilege becomes the sandbox's user. That alone takes the capabilities away; no
// program gives them back, as the bounding set is empty.
func dropPrivilege(user uintptr) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // the kernel knows no more
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	for _, call := range [][4]uintptr{
		{unix.SYS_SETGROUPS, 0, 0, 0},
		{unix.SYS_SETRESGID, user, user, user},
		{unix.SYS_SETRESUID, user, user, user},
	} {
		// Of this thread only: it is the one that becomes the program.
		if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			return fmt.Errorf("change the user: %w", errno)
		}
	}
	return nil
}
