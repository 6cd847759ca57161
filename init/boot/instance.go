package boot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kios/internal/identity"
	"kios/internal/instance"
	"kios/internal/wholefile"
)

// checkInstance has the node start afresh if its disk is in another machine than the one
// that it was set up for: a copy of a node's disk must not be the same node once more. It
// comes before containerd and the kubelet read any of the files.
func (n *Node) checkInstance() error { return n.checkInstanceIn("/") }

func (n *Node) checkInstanceIn(root string) error {
	r, err := instance.Load(root)
	if err != nil {
		return err
	}
	before, now := strings.ToLower(r.UUID), instance.UUID(root)
	if identity.SameUUID(before, now) || !identity.Unique(before) || !identity.Unique(now) {
		return nil // the same machine, or nobody knows
	}
	n.Log.Notice("this disk is from another machine: the node starts afresh, without name, keys and certificates of that one")
	return errors.Join(r.Reset(root), forgetMachineID(root, before), forgetKept(root))
}

// forgetOther forgets what PID 1 keeps of another machine, for who has found out by something
// else than the UUID of the firmware. The machine id stays: the node runs with it. It is work.
func (n *Node) forgetOther(root, who string) error {
	if err := checkWord(who); err != nil {
		return err
	}
	n.Log.Notice("this disk is from another machine, as a pod (%s) has found out: what is kept of that one is forgotten", who)
	errs := []error{forgetKept(root)}
	for daemon := range sources {
		if t := n.trials.get(daemon); t != nil {
			errs = append(errs, t.Forget())
		}
	}
	return errors.Join(errs...)
}

// forgetKept removes the name that the network offered the other machine, and the files with
// which its daemons worked last: a daemon that fails here would get them back.
func forgetKept(root string) error {
	errs := []error{forget(filepath.Join(root, offeredHostname))}
	for daemon := range sources {
		errs = append(errs, forget(filepath.Join(root, keptFile(daemon))))
	}
	return errors.Join(errs...)
}

// forgetMachineID removes a machine id that was made of another machine's UUID. One that
// the user has chosen stays.
func forgetMachineID(root, uuid string) error {
	file := filepath.Join(root, "etc/machine-id")
	text, err := readIfThere(file)
	id := strings.TrimSpace(text)
	if err != nil || id != identity.NewMachineID(uuid) && id != identity.NewMachineID(identity.Swapped(uuid)) {
		return nil // what is wrong with the file is said when it is used
	}
	return forget(file)
}

// forget removes a file that may not be there.
func forget(file string) error {
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return wholefile.Remove(file)
}
