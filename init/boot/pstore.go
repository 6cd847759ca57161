package boot

import (
	"errors"
	"fmt"
	"path/filepath"

	"kios/init/mount"
	"kios/init/pstore"
	"kios/internal/logfile"
)

// pstoreRow is not among the file systems of every boot: firmware may take its time to
// tell what it keeps, and nobody waits for it.
var pstoreRow = mount.Row{Target: pstore.Dir, Type: "pstore", Source: "pstore", Flags: mount.Strict, Optional: true,
	Why: "the kernel's last words before the machine restarted"}

const maxPstoreLines = 32 // on the console

// maxKept is how many records a node without a data partition leaves in the firmware's
// memory, the newest: those of two crashes or more. Boards whose memory is full may not
// start any more.
const maxKept = 32

// readPstore logs what the kernel said last before a crash, and keeps it in a log. It runs
// again when the node has moved onto a data partition.
func (n *Node) readPstore() error {
	file := logfile.New(filepath.Join(logDir, "pstore.log"), n.logLimit()/8, logFiles)
	file.Report = n.Log.Error
	lasts := n.work.data.keeps()
	n.spawn("pstore", func() {
		if err := mountUnlessThere(pstoreRow); err != nil {
			n.Log.Info("the kernel's last words are out of reach: %v", err)
			return
		}
		n.moveRecords(pstore.Dir, file, lasts)
	})
	return nil
}

// errInMemory keeps a record where it is.
var errInMemory = errors.New("the log is in memory only")

// moveRecords takes what the kernel has kept into a log. A record is gone only if the log
// has it for good: not if the log does not last.
func (n *Node) moveRecords(dir string, file *logfile.File, lasts bool) {
	told := 0
	moved, err := pstore.Move(dir, func(r pstore.Record) error {
		if told++; told <= maxPstoreLines {
			n.Log.Warn("an earlier boot has left %s: %s", r.Name, r.Words())
		}
		err := file.Save(append(fmt.Appendf(nil, "(kios: %s)\n", r.Name), r.Text...))
		if err == nil && !lasts {
			err = errInMemory
		}
		return err
	})
	if err != nil {
		n.Log.Info("the kernel's last words stay in the firmware's memory: %v", err)
	}
	if moved > 0 {
		n.Log.Warn("the kernel's last words of an earlier boot are in %s (%d records)", filepath.Join(logDir, "pstore.log"), moved)
	}
	n.trimRecords(dir)
}

// trimRecords leaves the newest records that could not be moved.
func (n *Node) trimRecords(dir string) {
	removed, err := pstore.Trim(dir, maxKept)
	if err != nil {
		n.Log.Warn("free the firmware's memory: %v", err)
	}
	if removed > 0 {
		n.Log.Warn("%d of the kernel's oldest last words were removed from the firmware's memory: only %d stay there", removed, maxKept)
	}
}
