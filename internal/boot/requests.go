package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kios/internal/control"
	"kios/internal/identity"
	"kios/internal/kubeletargs"
)

// offeredHostname holds the name that the network offered. It is on the data
// partition, so that the next boot starts with it.
const offeredHostname = "/var/meta/hostname"

// request is what a pod asks for, and where the answer goes.
type request struct {
	control.Request
	answer chan error
}

// listenControl lets pods ask for what only PID 1 can do. The main goroutine
// does it: while it stops and starts daemons, nothing else may.
func (n *Node) listenControl() error {
	server, err := control.Listen(control.Path, func(r control.Request) error {
		answer := make(chan error, 1)
		n.requests <- request{r, answer}
		return <-answer
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
// metadata.uid (docs/decisions/0012), and happens once in the life of a node.
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
	if name == n.hostname {
		return nil
	}
	files := kubeletargs.Files{Root: "/"}
	if !files.Standalone() {
		return fmt.Errorf("the node is known to its cluster as %s and keeps that name; write the name into /etc/hostname to change it", n.hostname)
	}
	if err := replaceFile(offeredHostname, name+"\n", 0o644); err != nil {
		return fmt.Errorf("keep the name: %w", err)
	}
	n.Log.Notice("the network calls this node %s, not %s any more; the kubelet starts again", name, n.hostname)
	n.kubelet.Restart(daemonBound)
	return nil
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
	if n.data.device != "" {
		return fmt.Errorf("the node has the data partition %s already", n.data.device), nil
	}
	if n.options.DataPart == "none" {
		return errors.New("datapart=none on the kernel command line forbids it"), nil
	}
	if err := n.seedData(device); err != nil {
		return err, nil
	}
	n.Log.Notice("moving onto the data partition %s: pods and daemons start again", device)
	first := n.rewind("mounts")
	// What daemons kept about containers that are gone.
	for _, dir := range []string{"/run/containerd", "/run/runc"} {
		if err := os.RemoveAll(dir); err != nil {
			n.Log.Warn("remove the state of before: %v", err)
		}
	}
	n.options.DataPart = device
	return nil, n.forward(first)
}

// rewind stops what the steps after the named one have started, and that one's,
// the last first, and returns their first index.
func (n *Node) rewind(name string) (first int) {
	for first = len(n.ran); first > 0; {
		first--
		s := n.ran[first]
		if s.Stop != nil {
			n.stopStep(s)
		}
		if s.Name == name {
			break
		}
	}
	n.ran = n.ran[:first]
	n.mu.Lock()
	n.daemons = nil
	n.mu.Unlock()
	n.logs, n.data = nil, data{}
	return first
}

// seedData puts on a new partition what was written to /etc since the boot, and
// the kubelet's keys, as far as the partition has none of its own.
func (n *Node) seedData(device string) error {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return err
	}
	readOnly, err := mountExt4(device, dataDir)
	if err != nil {
		return err
	}
	defer unmountData()
	if readOnly {
		return fmt.Errorf("%s is read-only", device)
	}
	var errs []error
	for from, to := range map[string]string{etcDir: "meta/etc", pki: "data/lib/kubelet/pki", offeredHostname: "meta/hostname"} {
		errs = append(errs, copyMissing(filepath.Join(dataDir, to), from))
	}
	if err := errors.Join(errs...); err != nil {
		n.Log.Error("not everything that was written since the boot is on %s: %v", device, err)
	}
	return nil
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
		return os.Symlink(target, to)
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return replaceFile(to, string(text), info.Mode().Perm())
}

func copyMissingDir(to, from string, info os.FileInfo) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(to, info.Mode().Perm()); err != nil && !errors.Is(err, os.ErrExist) {
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
