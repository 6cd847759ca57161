package boot

import (
	"fmt"
	"time"

	"kios/init/mount"

	"golang.org/x/sys/unix"
)

// save is for a node that cannot go on. Pods and daemons would write for as long as the
// reason stands on the console, and all that would be lost when the machine restarts; so
// they are ended, what they have written is brought to the disks, and these are made
// read-only.
func (n *Node) save() {
	n.saveWith(mount.List)
	n.prolong() // the machine restarts
}

func (n *Node) saveWith(mounts func() ([]mount.Info, error)) {
	n.stopping.set() // nothing is started any more
	for _, d := range n.daemons.all() {
		d.Last()
	}
	// Not with SIGTERM: there is nobody left who could wait for them in order.
	_ = unix.Kill(-1, unix.SIGKILL)
	n.reaper.WaitAll(restBound)
	n.closeLogs()
	infos, err := mountsWithin(otherBound, mounts)
	if err != nil {
		n.Log.Error("what is on disks may not be complete: %v", err)
		return
	}
	n.saveDisks(infos)
}

// mountsWithin lists the mounts. The kernel makes the list wait for whoever changes them.
func mountsWithin(bound time.Duration, list func() ([]mount.Info, error)) (infos []mount.Info, err error) {
	found := make(chan []mount.Info, 1)
	err = within(bound, func() error {
		infos, err := list()
		found <- infos
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the mounts: %w", err)
	}
	return <-found, nil
}

// saveDisks writes out what file systems on disks have, and makes them read-only.
func (n *Node) saveDisks(infos []mount.Info) {
	hung := map[string]bool{}
	if err := syncDisks(infos, hung); err != nil {
		n.Log.Error("what is on disks is not complete: %v", err)
	}
	err := inParallel(disksOf(infos), otherBound, hung, func(m mount.Info) error {
		return withDisk(infos, m, makeReadOnly)
	})
	if err != nil {
		n.Log.Error("make disks read-only: %v", err)
		return
	}
	n.Log.Notice("all processes were ended, and what they had written is on the disks")
}

// closeLogs lets go of the logs: a file system with a file that is open for writing does
// not become read-only.
func (n *Node) closeLogs() {
	if err := within(otherBound, n.stopLogs); err != nil {
		n.Log.Error("close the logs: %v", err)
	}
}
