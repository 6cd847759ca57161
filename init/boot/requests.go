package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"kios/init/mount"
	"kios/internal/control"
	"kios/internal/identity"
	"kios/internal/kubeletargs"
)

// offeredHostname holds the name that the network offered. It is on the data
// partition, so that the next boot starts with it.
const offeredHostname = "/var/meta/hostname"

// request is what is asked of PID 1, and where the answer goes. A failure ends the
// boot.
type request struct {
	do     func() (refusal, failure error)
	answer chan error
}

// listenControl lets pods ask for what only PID 1 can do, one thing at a time:
// while it stops and starts daemons, nothing else may.
func (n *Node) listenControl() error {
	server, err := control.Listen(control.Path, func(r control.Request) error {
		return n.request(func() (refusal, failure error) { return n.fulfil(r) })
	})
	if err != nil {
		return err
	}
	n.spawn("control", server.Run)
	return nil
}

// fulfil carries a request out. The second error ends the boot: a move that
// got stuck halfway.
func (n *Node) fulfil(r control.Request) (refusal, failure error) {
	switch r := r.(type) {
	case control.Hostname:
		return n.takeHostname(r.Name), nil
	case control.DataPartition:
		return n.takeData(r.Device)
	}
	return fmt.Errorf("%T is no request", r), nil
}

// takeHostname gives the node the name that the network offers, unless
// /etc/hostname has one. The kubelet learns its name when it starts, so it is
// started again; that restarts the static pods whose manifests have no
// metadata.uid (docs/decisions/0012), and happens whenever the network has
// another name than before.
func (n *Node) takeHostname(offer string) error {
	name, err := identity.ParseHostname(offer)
	if err != nil {
		return err
	}
	if text, err := readIfThere("/etc/hostname"); err != nil || strings.TrimSpace(text) != "" {
		return nil // the user's choice
	}
	// Names that DHCP gives to everybody are none.
	if name == "localhost" || strings.HasPrefix(name, "localhost.") {
		return nil
	}
	if name == n.name() {
		return nil
	}
	if (kubeletargs.Files{Root: "/"}).Known() {
		return fmt.Errorf("the node is known to its cluster as %s and keeps that name; write the name into /etc/hostname to change it", n.name())
	}
	if err := replaceFile(offeredHostname, name+"\n", 0o644); err != nil {
		return fmt.Errorf("keep the name: %w", err)
	}
	n.Log.Notice("the network calls this node %s, not %s any more; the kubelet starts again", name, n.name())
	n.kubelet.Restart(daemonBound)
	return nil
}

// name is the node's. The kubelet's goroutine sets it, too.
func (n *Node) name() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hostname
}

// hostnameText returns the text that names the node, and the file that it is
// from.
func hostnameText() (text, file string, err error) {
	for _, file := range []string{"/etc/hostname", offeredHostname} {
		text, err := readIfThere(file)
		if err != nil || strings.TrimSpace(text) != "" {
			return text, file, err
		}
	}
	return "", "/etc/hostname", nil
}

// takeData moves the node from memory onto a data partition that did not exist,
// or was not sound, when it booted: everything that runs is stopped in the order
// of a power-off, and started again in that of a boot.
func (n *Node) takeData(device string) (refusal, failure error) {
	switch {
	case n.data.device != "":
		return fmt.Errorf("the node has the data partition %s already", n.data.device), nil
	case n.options.DataPart == "none":
		return errors.New("datapart=none on the kernel command line forbids it"), nil
	case n.tried[device]:
		return fmt.Errorf("%s was tried in this boot, and the node could not stay on it: see the kernel's log", device), nil
	}
	if err := tryData(device); err != nil {
		return err, nil
	}
	n.Log.Notice("moving onto the data partition %s: pods and daemons start again", device)
	n.tried[device] = true // once: or a node would stop everything over and over
	// Nobody writes to /etc any more when what is in it is copied.
	if _, err := n.rewind("logs"); err != nil {
		return err, nil
	}
	if err := n.seedData(device); err != nil {
		n.Log.Error("not everything that was written since the boot is on %s: %v", device, err)
	}
	first, err := n.rewind("mounts")
	if err != nil {
		return err, nil
	}
	n.forgetContainers()
	n.options.DataPart = device
	return nil, n.forward(first)
}

// forgetContainers removes what daemons kept about containers that are gone,
// unless one of them is still mounted.
func (n *Node) forgetContainers() {
	infos, err := mount.List()
	if err != nil || len(mount.Below(infos, "/run/containerd")) > 0 {
		n.Log.Warn("the state of containers that are gone stays: some are still mounted (%v)", err)
		return
	}
	for _, dir := range []string{"/run/containerd", "/run/runc"} {
		if err := os.RemoveAll(dir); err != nil {
			n.Log.Warn("remove the state of before: %v", err)
		}
	}
}

// tryData finds out whether a partition can be used, before anything is stopped.
func tryData(device string) error {
	if err := demandSound(device); err != nil {
		return err
	}
	readOnly, err := mountData(device)
	if err != nil {
		return err
	}
	unmountData()
	if readOnly {
		return fmt.Errorf("%s is read-only", device)
	}
	return nil
}

func mountData(device string) (readOnly bool, err error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return false, err
	}
	return mountExt4(device, dataDir)
}

// rewind stops what the steps after the named one have started, and that one's,
// the last first, and returns their first index. When the node is being stopped it
// leaves off, with an error.
func (n *Node) rewind(name string) (first int, err error) {
	for first = len(n.ran); first > 0 && !n.isStopping(); {
		first--
		s := n.ran[first]
		if s.Stop != nil {
			n.stopStep(s)
		}
		if s.Name == name {
			break
		}
	}
	if n.isStopping() {
		return first, errStopping // what is left is for that to stop
	}
	n.ran = n.ran[:first]
	n.mu.Lock()
	n.daemons = nil
	n.mu.Unlock()
	n.logs, n.data = nil, data{}
	return first, nil
}

// seedData puts on a new partition what was written to /etc since the boot, and
// the kubelet's keys, as far as the partition has none of its own.
func (n *Node) seedData(device string) error {
	if _, err := mountData(device); err != nil {
		return err
	}
	defer unmountData()
	copies := map[string]string{etcDir: "meta/etc", pki: "data/lib/kubelet/pki"}
	if !(kubeletargs.Files{Root: filepath.Join(dataDir, "meta")}).Exists("/etc/kubernetes/kubelet.conf") {
		// A node that its cluster may know keeps the name that it has there.
		copies[offeredHostname] = "meta/hostname"
	}
	var errs []error
	for from, to := range copies {
		errs = append(errs, copyMissing(filepath.Join(dataDir, to), from))
	}
	return errors.Join(errs...)
}

// copyMissing copies a file, or a directory with all below it, unless it is
// there already. Links are copied as such; what else an overlay's upper layer
// may hold (marks of removed files) is left out.
func copyMissing(to, from string) error {
	info, err := os.Lstat(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		return copyMissingDir(to, from, info)
	case !info.Mode().IsRegular() && info.Mode()&os.ModeSymlink == 0:
		return nil
	}
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if info.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return errors.Join(os.Symlink(target, to), takeOwner(to, info))
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(replaceFile(to, string(text), info.Mode().Perm()), takeOwner(to, info))
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
