// Package switchroot is stage 1: what /init of the initramfs does. It mounts
// the root file system, an EROFS image that lies in the initramfs, makes it
// the root and runs PID 1 from it. The kernel's modules, another EROFS image,
// are mounted in it, and the images of the OS are bound into it: they are not in
// the root because EROFS does not read from a file on EROFS. There is no loop
// device in between: EROFS reads from a file (CONFIG_EROFS_FS_BACKED_BY_FILE,
// Linux 6.12), and its pages can be reclaimed like those of any page cache.
//
// The initramfs must be a ramfs (rootfstype=ramfs), because EROFS cannot read
// from a tmpfs.
package switchroot

import (
	"errors"
	"fmt"
	"os"

	"kios/init/machine"

	"golang.org/x/sys/unix"
)

const (
	image   = "/rootfs.erofs"
	modules = "/modules.erofs"
	images  = "/images"
	newRoot = "/root"
	program = "/bin/init"
	// extra holds files that were put into the initramfs for this boot.
	extra = "/extra"
)

// Run moves into the root file system and runs its PID 1 with the given
// arguments. It returns only if that was not possible.
func Run(args []string) error {
	steps := []func() error{mountDev, mountRoot, mountModules, mountRun, bindImages, bindExtra, moveDev, forgetInit, moveRoot}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	args = append([]string{program}, args[1:]...)
	return fmt.Errorf("run %s: %w", program, unix.Exec(program, args, os.Environ()))
}

func mountDev() error {
	err := unix.Mount("devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=4m")
	if err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount devtmpfs on /dev: %w", err)
	}
	return nil
}

func mountRoot() error {
	err := unix.Mount(image, newRoot, "erofs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOTBLK):
		return fmt.Errorf("mount %s: the kernel cannot mount EROFS from a file: it needs CONFIG_EROFS_FS_BACKED_BY_FILE (Linux 6.12) and rootfstype=ramfs on the command line", image)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EUCLEAN):
		return fmt.Errorf("mount %s: it is damaged, or rootfstype=ramfs is missing on the kernel command line: %w", image, err)
	}
	return fmt.Errorf("mount %s: %w", image, err)
}

func mountRun() error {
	if err := unix.Mount("tmpfs", newRoot+"/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=15%"); err != nil {
		return fmt.Errorf("mount tmpfs on /run: %w", err)
	}
	return nil
}

// mountModules mounts the kernel's modules, if there are any. On a machine with
// little memory it removes them instead: nothing loads modules there.
func mountModules() error {
	if machine.TotalMemory() < machine.FullMemory {
		os.Remove(modules)
	}
	if _, err := os.Stat(modules); err != nil {
		return nil
	}
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount(modules, newRoot+"/lib/modules", "erofs", flags, ""); err != nil {
		return fmt.Errorf("mount %s: %w", modules, err)
	}
	return nil
}

// bindImages shows the images of the OS where containerd looks for them.
func bindImages() error { return bind(images, newRoot+"/usr/share/kios/images") }

// bindExtra keeps in sight what came with the initramfs.
func bindExtra() error { return bind(extra, newRoot+"/run/kios/extra") }

// bind shows a directory of the initramfs at target, read-only, if it is there.
func bind(dir, target string) error {
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(dir, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", dir, err)
	}
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("", target, "", flags, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", target, err)
	}
	return nil
}

func moveDev() error {
	if err := unix.Mount("/dev", newRoot+"/dev", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move /dev: %w", err)
	}
	return nil
}

// forgetInit frees the memory of this program's file once it has run another.
func forgetInit() error {
	os.Remove("/init")
	return nil
}

// moveRoot makes the new root the root. The initramfs itself cannot be
// unmounted; it stays out of sight below.
func moveRoot() error {
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("enter %s: %w", newRoot, err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s to /: %w", newRoot, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return unix.Chdir("/")
}
