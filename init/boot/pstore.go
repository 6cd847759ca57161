package boot

import (
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

// readPstore logs what the kernel said last before a crash, and keeps it in a log.
func (n *Node) readPstore() error {
	file := logfile.New(filepath.Join(logDir, "pstore.log"), n.logLimit()/8, logFiles)
	file.Report = n.Log.Error
	n.spawn("pstore", func() {
		if err := mountUnlessThere(pstoreRow); err != nil {
			n.Log.Info("the kernel's last words are out of reach: %v", err)
			return
		}
		n.moveRecords(pstore.Dir, file)
	})
	return nil
}

// moveRecords takes what the kernel has kept into a log. A record is gone only if the log
// has it for good.
func (n *Node) moveRecords(dir string, file *logfile.File) {
	told := 0
	moved, err := pstore.Move(dir, func(r pstore.Record) error {
		if told++; told <= maxPstoreLines {
			n.Log.Warn("an earlier boot has left %s: %s", r.Name, r.Words())
		}
		return file.Save(append(fmt.Appendf(nil, "(kios: %s)\n", r.Name), r.Text...))
	})
	if err != nil {
		n.Log.Info("the kernel's last words stay in the firmware's memory: %v", err)
	}
	if moved > 0 {
		n.Log.Warn("the kernel's last words of an earlier boot are in %s (%d records)", filepath.Join(logDir, "pstore.log"), moved)
	}
}
