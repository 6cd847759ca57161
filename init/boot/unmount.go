package boot

import (
	"errors"
	"fmt"
	"strings"
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

// unmountAll unmounts what can be unmounted, the last mounted first. It tries again
// as long as there are fewer mounts each time: containers leave overlays and bind
// mounts behind that keep the data partition in use.
func (n *Node) unmountAll() error {
	var left []mount.Info
	hung := map[string]bool{}
	for before := -1; ; before = len(left) {
		infos, err := mount.List()
		if err != nil {
			return err
		}
		left = unmountOnce(infos, hung)
		if len(left) == 0 || len(left) == before {
			break
		}
	}
	err := n.makeReadOnly(left)
	return errors.Join(err, within(syncBound, func() error { unix.Sync(); return nil }))
}

// disksPatience is for the disks of a node: a data partition, and what a pod has
// mounted.
func (n *Node) disksPatience() time.Duration { return 2 * diskBound }

// Bounds of what the kernel does for a file system. A disk gets the time to write all
// that is left to write. A server that is gone must not keep the machine.
const (
	diskBound  = time.Minute
	otherBound = 5 * time.Second
	syncBound  = 10 * time.Second // by then nothing is left to write but what hangs
)

func boundOf(m mount.Info) time.Duration {
	if strings.HasPrefix(m.Source, "/dev/") {
		return diskBound
	}
	return otherBound
}

// unmountOnce tries each mount once and returns those that stayed. Those that hang
// are added to hung and not tried again.
func unmountOnce(infos []mount.Info, hung map[string]bool) (left []mount.Info) {
	for _, m := range mount.Below(infos, "/") {
		if stays(m) {
			continue
		}
		if hung[m.Target] {
			left = append(left, m)
			continue
		}
		err := within(boundOf(m), func() error { return unix.Unmount(m.Target, unix.UMOUNT_NOFOLLOW) })
		if err != nil {
			left = append(left, m)
			hung[m.Target] = errors.Is(err, errHangs)
		}
	}
	return left
}

// makeReadOnly makes file systems on disks read-only that could not be unmounted.
func (n *Node) makeReadOnly(left []mount.Info) error {
	var errs []error
	for _, m := range left {
		if !strings.HasPrefix(m.Source, "/dev/") {
			n.Log.Info("%s (%s) is still mounted", m.Target, m.Type)
			continue
		}
		err := within(boundOf(m), func() error { return unix.Mount("", m.Target, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") })
		if err != nil {
			errs = append(errs, fmt.Errorf("%s on %s is in use and stays mounted: %w", m.Source, m.Target, err))
		} else {
			n.Log.Warn("%s on %s is in use; it was made read-only instead of unmounted", m.Source, m.Target)
		}
	}
	return errors.Join(errs...)
}
