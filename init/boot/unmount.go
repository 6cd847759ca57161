package boot

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"kios/init/mount"

	"golang.org/x/sys/unix"
)

// stays reports whether a mount is never unmounted: it is the kernel's, holds this
// program, or comes from stage 1 and could not be mounted again.
func stays(m mount.Info) bool {
	switch m.Target {
	case "/", "/dev", "/proc", "/sys", "/run", "/usr/share/kios/images", extra:
		return true
	case "/lib/modules":
		return m.Type == "erofs" // not those of the data partition
	}
	for _, prefix := range []string{"/dev/", "/proc/", "/sys/"} {
		if strings.HasPrefix(m.Target, prefix) {
			return true
		}
	}
	return false
}

// unmountAll writes out what disks have, lets go of servers, and unmounts what can be
// unmounted, the last mounted first. It tries again as long as there are fewer mounts
// each time: containers leave overlays and bind mounts behind that keep the data
// partition in use.
func (n *Node) unmountAll() error {
	infos, err := mount.List()
	if err != nil {
		return err
	}
	hung := map[string]bool{} // by device: what hangs once is not tried again
	// First: whatever hangs below, the data is safe.
	errs := []error{syncDisks(infos, hung), detachServers(infos, hung)}
	var left []mount.Info
	late := time.Now().Add(diskBound)
	for before := -1; ; before = len(left) {
		if infos, err = mount.List(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		left = unmountOnce(infos, hung, late)
		if len(left) == 0 || len(left) == before {
			break
		}
	}
	return errors.Join(append(errs, n.secure(left))...)
}

// disksPatience is for the disks of a node: to write out what they have, and to unmount
// them. What is in use by then is made read-only.
func (n *Node) disksPatience() time.Duration { return 2*diskBound + 3*otherBound }

// Bounds of what the kernel does for a file system. A disk gets the time to write all
// that is left to write. A server that is gone must not keep the machine.
const (
	diskBound  = time.Minute
	otherBound = 5 * time.Second
)

// onDisk reports whether the kernel writes to a disk for a mount. What FUSE has is up to
// a program, whatever its source is called.
func onDisk(m mount.Info) bool {
	return strings.HasPrefix(m.Source, "/dev/") && !strings.HasPrefix(m.Type, "fuse")
}

func boundOf(m mount.Info) time.Duration {
	if onDisk(m) {
		return diskBound
	}
	return otherBound
}

// inParallel calls do with each mount, and returns all errors. It does not wait for
// longer than the bound: what hangs is left alone, and its device is added to hung.
func inParallel(mounts []mount.Info, bound time.Duration, hung map[string]bool, do func(mount.Info) error) error {
	errs := make([]error, len(mounts))
	var all sync.WaitGroup
	for i, m := range mounts {
		all.Go(func() { errs[i] = within(bound, func() error { return do(m) }) })
	}
	all.Wait()
	for i, m := range mounts {
		if errs[i] != nil {
			hung[m.Device] = hung[m.Device] || errors.Is(errs[i], errHangs)
			errs[i] = fmt.Errorf("%s on %s: %w", m.Source, m.Target, errs[i])
		}
	}
	return errors.Join(errs...)
}

// disksOf returns one mount of each file system on a disk.
func disksOf(infos []mount.Info) (disks []mount.Info) {
	for _, m := range infos {
		if onDisk(m) && !slices.ContainsFunc(disks, func(d mount.Info) bool { return d.Device == m.Device }) {
			disks = append(disks, m)
		}
	}
	return disks
}

// syncDisks writes out each file system that is on a disk. Unlike sync(2), it waits for
// no other.
func syncDisks(infos []mount.Info, hung map[string]bool) error {
	return inParallel(disksOf(infos), diskBound, hung, func(m mount.Info) error {
		return withDisk(infos, m, syncFS)
	})
}

// withDisk opens the root of a mount of the same file system, and calls use with it. Another
// mount may cover some of them, which a path would lead to instead.
func withDisk(infos []mount.Info, disk mount.Info, use func(root *os.File) error) (err error) {
	for _, m := range infos {
		if m.Device != disk.Device {
			continue
		}
		var root *os.File
		if root, err = openRoot(m); err == nil {
			defer root.Close()
			return use(root)
		}
	}
	return err
}

var errCovered = errors.New("another file system is mounted over it")

// openRoot opens the root of a mount. It fails if the path leads to another.
func openRoot(m mount.Info) (*os.File, error) {
	const flags = os.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := os.OpenFile(m.Target, flags|unix.O_DIRECTORY, 0)
	if errors.Is(err, unix.ENOTDIR) { // a file can be a mount point, too
		f, err = os.OpenFile(m.Target, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	var st unix.Statx_t
	err = unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st)
	if err == nil && st.Mnt_id != m.ID {
		err = errCovered
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", m.Target, err)
	}
	return f, nil
}

func syncFS(root *os.File) error {
	if err := unix.Syncfs(int(root.Fd())); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// makeReadOnly changes the file system, and not only one mount of it.
func makeReadOnly(root *os.File) error {
	return unix.Mount("", fmt.Sprintf("/proc/self/fd/%d", root.Fd()), "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// harmless are the types of file systems without a disk that are all in the kernel:
// nobody has to answer when they are unmounted.
var harmless = []string{"tmpfs", "overlay", "erofs", "proc", "sysfs", "devtmpfs", "devpts", "mqueue", "hugetlbfs", "bpf", "cgroup2", "nsfs", "ramfs", "securityfs", "tracefs", "debugfs", "pstore", "efivarfs"}

// detachServers lets go of file systems that need an answer from somebody, such as a
// server of NFS or a program behind FUSE. All have the same few seconds to write what is
// not yet written. Of those that do not answer, the requests that wait are given up.
func detachServers(infos []mount.Info, hung map[string]bool) error {
	servers := slices.DeleteFunc(slices.Clone(infos), func(m mount.Info) bool {
		return stays(m) || onDisk(m) || slices.Contains(harmless, m.Type)
	})
	slices.Reverse(servers) // what lies on top first
	err := inParallel(servers, otherBound, hung, letGo)
	gone := slices.DeleteFunc(servers, func(m mount.Info) bool { return !hung[m.Device] })
	return errors.Join(err, inParallel(gone, otherBound, hung, func(m mount.Info) error {
		return unmountIfThere(m, unix.MNT_FORCE|unix.MNT_DETACH)
	}))
}

// letGo has a server take what is not yet written, and unmounts it. A mount that is in use
// goes when its last user does.
func letGo(m mount.Info) error {
	err := syncServer(m)
	unmountErr := unmountIfThere(m, 0)
	if errors.Is(unmountErr, unix.EBUSY) {
		unmountErr = unmountIfThere(m, unix.MNT_DETACH)
	}
	return errors.Join(err, unmountErr)
}

// syncServer writes out what a server is to have. One whose connection has ended takes
// nothing any more, and a mount below another one is synced with that.
func syncServer(m mount.Info) error {
	root, err := openRoot(m)
	if err == nil {
		defer root.Close()
		err = syncFS(root)
	}
	if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ENOENT) || errors.Is(err, errCovered) {
		return nil
	}
	return err
}

// unmountIfThere unmounts what has not gone already, with a mount above it.
func unmountIfThere(m mount.Info, flags int) error {
	err := unix.Unmount(m.Target, flags|unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// unmountOnce tries each mount once and returns those that stayed. The devices of those
// that hang are added to hung and not tried again. When it is late, none is tried.
func unmountOnce(infos []mount.Info, hung map[string]bool, late time.Time) (left []mount.Info) {
	for _, m := range mount.Below(infos, "/") {
		if stays(m) {
			continue
		}
		bound := min(boundOf(m), time.Until(late))
		if hung[m.Device] || bound <= 0 {
			left = append(left, m)
			continue
		}
		err := within(bound, func() error { return unix.Unmount(m.Target, unix.UMOUNT_NOFOLLOW) })
		if err != nil {
			left = append(left, m)
			hung[m.Device] = errors.Is(err, errHangs)
		}
	}
	return left
}

// secure makes file systems on disks read-only that could not be unmounted.
func (n *Node) secure(left []mount.Info) error {
	for _, m := range left {
		if !onDisk(m) {
			n.Log.Info("%s (%s) is still mounted", m.Target, m.Type)
		}
	}
	return inParallel(disksOf(left), 2*otherBound, map[string]bool{}, func(m mount.Info) error {
		if err := withDisk(left, m, makeReadOnly); err != nil {
			return fmt.Errorf("it is in use and stays mounted: %w", err)
		}
		n.Log.Warn("%s on %s is in use; it was made read-only instead of unmounted", m.Source, m.Target)
		return nil
	})
}
