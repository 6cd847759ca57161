package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"kios/init/mount"
	"kios/internal/datapart"
	"kios/internal/instance"
	"kios/internal/kubeletargs"
	"kios/internal/wholefile"
)

// Bounds of a move. A disk may hang at any time.
const (
	checkBound = mountBound
	moveBound  = 3 * time.Minute // to copy files and start all daemons
)

// moveToData moves the node from memory onto a data partition that did not exist,
// or was not sound, when it booted: everything that runs is stopped in the order
// of a shutdown, and started again in the order of a boot. It is work.
//
// A disk that hangs before anything is stopped is refused. If it hangs after that, the
// node has no way to go on and restarts.
func (n *Node) moveToData(device string) (refusal, failure error) {
	if err := n.checkMove(device); err != nil {
		return err, nil
	}
	n.Log.Notice("moving onto the data partition %s: pods and daemons start again", device)
	if found, _, err := disks.Look(n.rule()); err == nil {
		n.warnOfNextBoot(found, device)
	}
	n.work.attempted[device] = true // once, or a node could stop everything over and over
	// After this, nobody writes to /etc while it is copied.
	logs, err := n.rewind(n.plan.logs)
	if err != nil {
		return err, nil
	}
	return n.finishMove(device, func() error { return n.startOn(device, logs) })
}

// warnOfNextBoot says how the node finds a partition again that does not count by itself.
func (n *Node) warnOfNextBoot(found datapart.Found, device string) {
	for _, p := range found.Ignored {
		if p.Device == device {
			n.Log.Warn("the next boot does not use %s by itself, as the machine did not boot from its disk: to use it, give datapart=PARTUUID=%v on the kernel command line", p, p.GUID)
		}
	}
}

// finishMove has the node started again, within a bound: nothing runs meanwhile that
// could do anything else.
func (n *Node) finishMove(device string, start func() error) (refusal, failure error) {
	err := within(n.moveBound, start)
	switch {
	case errors.Is(err, errStopping), errors.Is(err, errNotSeeded):
		return err, nil
	case err != nil:
		err = fmt.Errorf("move onto the data partition %s: %w", device, err)
		return err, err
	}
	return nil, nil
}

// errNotSeeded is for a partition that did not take what the node needs there.
var errNotSeeded = errors.New("the partition does not take what was written to /etc since the boot, so the node stays in memory")

// startOn does what is left of a move when nothing runs any more. The step with the index
// logs is where the node starts again if it cannot move.
func (n *Node) startOn(device string, logs int) error {
	if err := n.seedData(device); err != nil {
		if err := n.forward(logs); err != nil {
			return err
		}
		n.Log.Error("%s: %v: %v", device, errNotSeeded, err)
		return fmt.Errorf("%w: %w", errNotSeeded, err)
	}
	first, err := n.rewind(n.plan.mounts)
	if err != nil {
		return err
	}
	n.forgetContainers()
	n.work.dataPart = device
	return n.forward(first)
}

// checkMove finds out whether the node can move onto a partition, before anything is
// stopped. Whoever asks may name what he likes: see datapart.System.Demand.
func (n *Node) checkMove(device string) error {
	switch {
	case n.work.data.device != "":
		return fmt.Errorf("the node has the data partition %s already", n.work.data.device)
	case n.work.attempted[device]:
		return fmt.Errorf("%s was tried in this boot, and the node could not stay on it: see the kernel's log", device)
	}
	if err := disks.Demand(n.rule(), device); err != nil {
		return err
	}
	return n.mounting.within(checkBound, func() error { return tryMount(device) }, func() {})
}

// tryMount mounts a partition, finds out whether it takes what is to move onto it, and
// unmounts it again.
func tryMount(device string) error {
	d := data{device: device}
	if err := d.mount(); err != nil {
		return err
	}
	defer unmountData()
	if d.readOnly {
		return fmt.Errorf("%s is read-only", device)
	}
	bytes, files, err := treeSize(etcDir, instanceDir, pki, programsDir)
	if err != nil {
		return fmt.Errorf("find out how much moves along: %w", err)
	}
	if !hasRoom(dataDir, bytes, files) {
		return fmt.Errorf("%s has too little space: %d MB would move onto it, and some must stay free", device, bytes>>20)
	}
	return nil
}

// treeSize returns how much copies of files and directories take at most.
func treeSize(roots ...string) (bytes, files uint64, err error) {
	const block = 4096 // what the least file or directory takes
	for _, root := range roots {
		err = errors.Join(err, filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
			if err != nil {
				return ignoreMissing(err)
			}
			info, err := e.Info()
			if err == nil {
				files++
				bytes += (uint64(info.Size())/block + 1) * block
			}
			return ignoreMissing(err)
		}))
	}
	return bytes, files, err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// forgetContainers removes the state that daemons kept of containers that are gone,
// unless one of these is still mounted.
func (n *Node) forgetContainers() {
	infos, err := mount.List()
	if err != nil || len(mount.Below(infos, "/run/containerd")) > 0 {
		n.Log.Warn("the state of containers that are gone stays: some are still mounted (%v)", err)
		return
	}
	for _, dir := range []string{"/run/containerd", "/run/runc"} {
		if err := os.RemoveAll(dir); err != nil {
			n.Log.Warn("remove old state: %v", err)
		}
	}
}

func mountData(device string) (readOnly bool, err error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return false, err
	}
	return mountExt4(device, dataDir)
}

// instanceDir has the record of which machine this is, and which of its files are the cloud's.
var instanceDir = filepath.Dir(instance.File)

// seedData copies to a new partition what was written to /etc since the boot, and
// the kubelet's keys. Files that the partition has already stay.
func (n *Node) seedData(device string) error {
	if _, err := mountData(device); err != nil {
		return err
	}
	defer unmountData()
	meta := filepath.Join(dataDir, "meta")
	// Without the record, the pod metadata would take what it wrote to /etc for the user's.
	if err := errors.Join(seed(filepath.Join(dataDir, "data/lib/kios/metadata"), instanceDir), seed(filepath.Join(meta, "etc"), etcDir), seed(filepath.Join(dataDir, "data/lib/kubelet/pki"), pki)); err != nil {
		return err
	}
	if !(kubeletargs.Files{Root: meta}).Exists("/etc/kubernetes/kubelet.conf") {
		// A node that its cluster may know keeps the name that it has there.
		if err := copyMissing(filepath.Join(meta, "hostname"), offeredHostname); err != nil {
			return err
		}
	}
	// Programs of CNI move with the configuration in /etc that names them. They are the
	// largest and can be installed again, so they are last and may fail.
	if err := seed(filepath.Join(dataDir, "data/var/exec"), programsDir); err != nil {
		n.Log.Error("not all programs of pods are on %s: %v", device, err)
	}
	return nil
}

// seed is copyMissing, but what cannot be copied whole, or not in time, is not seen by the
// next boot: the copy is made under another name, written out, and then moved to its place.
func seed(to, from string) error {
	staged := filepath.Join(filepath.Dir(to), "."+filepath.Base(to)+".moving")
	if err := os.RemoveAll(staged); err != nil { // of an attempt before
		return err
	}
	defer os.RemoveAll(staged)
	if err := copyMissing(staged, from); err != nil {
		return err
	}
	if err := syncTree(filepath.Dir(to)); err != nil {
		return err
	}
	return merge(to, staged)
}

// syncTree writes out the file system of a directory, if that is there.
func syncTree(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	defer f.Close()
	return syncFS(f)
}

// merge moves a tree to a place that may have some of it already, which stays. What is
// missing is moved as a whole.
func merge(to, from string) error {
	there, err := os.Lstat(to)
	if errors.Is(err, fs.ErrNotExist) {
		return ignoreMissing(os.Rename(from, to))
	}
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil || !there.IsDir() { // what is there is a file, or has none to take
		return nil
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, merge(filepath.Join(to, e.Name()), filepath.Join(from, e.Name())))
	}
	return errors.Join(errs...)
}

// copyMissing copies a file, or a directory with all below it, unless it is
// there already. Links are copied as such. Other things that an overlay's upper
// layer may hold (marks of removed files) are left out.
func copyMissing(to, from string) error {
	info, err := os.Lstat(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		return copyMissingDir(to, from, info)
	}
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	switch {
	case info.Mode().IsRegular():
		return copyFile(to, from, info)
	case info.Mode()&os.ModeSymlink != 0:
		return copyLink(to, from, info)
	}
	return nil
}

func copyFile(to, from string, info os.FileInfo) error {
	f, err := os.Open(from) // in pieces: plugins of networks have some 100 MB
	if err != nil {
		return err
	}
	defer f.Close()
	// Not durable, since the partition is unmounted after this, which syncs.
	return errors.Join(wholefile.Copy(to, f, info.Mode().Perm()), takeOwner(to, info))
}

func copyLink(to, from string, info os.FileInfo) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	return errors.Join(os.Symlink(target, to), takeOwner(to, info))
}

// takeOwner gives a copy the owner of the original.
func takeOwner(path string, original os.FileInfo) error {
	st, ok := original.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return os.Lchown(path, int(st.Uid), int(st.Gid))
}

func copyMissingDir(to, from string, info os.FileInfo) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	err := os.Mkdir(to, info.Mode().Perm())
	if err == nil {
		err = takeOwner(to, info)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, copyMissing(filepath.Join(to, e.Name()), filepath.Join(from, e.Name())))
	}
	return errors.Join(errs...)
}
