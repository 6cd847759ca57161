// Package diskcmd is the programs for block devices that the kubelet runs on the host:
// losetup, blockdev, resize2fs and xfs_growfs, which are a call of the kernel each, and
// blkid, fsck and mkfs, which are those of Debian in the image of the pod disk. These
// run in a sandbox that holds one device and nothing else of the node. And iscsiadm,
// which only says that there is none.
//
// It knows the arguments that the kubelet and k8s.io/mount-utils give, and few others.
package diskcmd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/ext4"

	"golang.org/x/sys/unix"
)

// Commands are the programs by name. Each takes its arguments without its own name
// and returns the exit code.
var Commands = map[string]func(args []string, stdout, stderr io.Writer) int{
	"losetup":    command("losetup", losetup),
	"blockdev":   command("blockdev", blockdev),
	"resize2fs":  command("resize2fs", resize2fs),
	"xfs_growfs": command("xfs_growfs", xfsGrowfs),
	"blkid":      command("blkid", blkid),
	"fsck":       command("fsck", fsck),
	"mkfs.ext2":  command("mkfs.ext2", mkfs("ext2")),
	"mkfs.ext3":  command("mkfs.ext3", mkfs("ext3")),
	"mkfs.ext4":  command("mkfs.ext4", mkfs("ext4")),
	"mkfs.xfs":   command("mkfs.xfs", noMkfs("xfs")),
	"mkfs.btrfs": command("mkfs.btrfs", noMkfs("btrfs")),
	"iscsiadm":   command("iscsiadm", iscsiadm),
}

// exitFailure is the exit code of errors: none of the programs gives it another
// meaning. (2 of blkid is "nothing there", 1 to 4 of fsck are its findings.)
const exitFailure = 8

func command(name string, run func(args []string, stdout io.Writer) error) func([]string, io.Writer, io.Writer) int {
	return func(args []string, stdout, stderr io.Writer) int {
		if err := run(args, stdout); err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", name, err)
			return exitFailure
		}
		return 0
	}
}

// blkid runs the program of that name, which tells what is on a device.
func blkid(args []string, _ io.Writer) error {
	options, device, err := splitDevice(args)
	if err != nil {
		return err
	}
	return sandbox{program: "/usr/sbin/blkid", options: options, device: device, readOnly: true}.run()
}

// mkfs returns a command that runs mke2fs.
func mkfs(fstype string) func([]string, io.Writer) error {
	return func(args []string, _ io.Writer) error {
		options, device, err := splitDevice(args)
		if err != nil {
			return err
		}
		// mke2fs asks /proc/mounts, which the sandbox does not have.
		if err := demandUnused(device); err != nil {
			return err
		}
		return sandbox{program: "/usr/sbin/mke2fs", options: append([]string{"-t", fstype}, options...), device: device}.run()
	}
}

// noMkfs returns a command that says that there is no such program.
func noMkfs(fstype string) func([]string, io.Writer) error {
	return func([]string, io.Writer) error {
		return fmt.Errorf("kiOS makes no file systems of the type %s: use ext4 (fsType: ext4), or make it in a pod before the volume is used", fstype)
	}
}

// iscsiadm says that there is none, where the kubelet puts its words into the pod's event.
// It does so with discovery and login, but not with the first question, which is for an
// interface: that is answered, as with the one that all initiators have.
func iscsiadm(args []string, stdout io.Writer) error {
	if strings.HasPrefix(strings.Join(args, " "), "-m iface ") && slices.Contains(args, "show") {
		fmt.Fprintln(stdout, "iface.transport_name = tcp")
		return nil
	}
	return errors.New("kiOS has no iSCSI initiator: use a CSI driver that brings one")
}

// fsck checks ext2 to ext4. Others need no check: their journals are replayed when they
// are mounted.
func fsck(args []string, stdout io.Writer) error {
	options, device, err := splitDevice(args)
	if err != nil {
		return err
	}
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := ext4.Read(f, 0); err != nil {
		fmt.Fprintf(stdout, "fsck: %s is not checked: %v\n", device, err)
		return nil
	}
	return sandbox{program: "/usr/sbin/e2fsck", options: options, device: device}.run()
}

// splitDevice returns the options and the device, which comes last.
func splitDevice(args []string) (options []string, device string, err error) {
	if len(args) == 0 || !strings.HasPrefix(args[len(args)-1], "/") {
		return nil, "", errors.New("the last argument is to be the path of a block device")
	}
	options, device = args[:len(args)-1], args[len(args)-1]
	device, err = filepath.EvalSymlinks(device)
	if err != nil {
		return nil, "", err
	}
	_, err = deviceNumber(device)
	return options, device, err
}

func deviceNumber(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, fmt.Errorf("%s is no block device", path)
	}
	return st.Rdev, nil
}

// demandUnused fails if a device is mounted or in use by another driver.
func demandUnused(device string) error {
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open %s, which nobody else may use meanwhile: %w", device, err)
	}
	return unix.Close(fd)
}
