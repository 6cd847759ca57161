package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"kios/init/bundle"
	"kios/init/kmsg"
	"kios/internal/logfile"

	"golang.org/x/sys/unix"
)

const (
	logDir   = "/var/log"
	logFiles = 3 // of each log, the current one included
)

// logs are the open logs. The work opens them; the shutdown closes them, perhaps
// while the work hangs.
type logs struct {
	mu     sync.Mutex
	kernel *os.File // /dev/kmsg, that one of them is fed from
	files  []*logfile.File
}

func (l *logs) add(file *logfile.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = append(l.files, file)
}

func (l *logs) setKernel(f *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kernel = f
}

// close closes all logs and forgets them.
func (l *logs) close() {
	l.mu.Lock()
	kernel, files := l.kernel, l.files
	l.kernel, l.files = nil, nil
	l.mu.Unlock()
	if kernel != nil {
		kernel.Close()
	}
	for _, file := range files {
		file.Close()
	}
}

// startLogs keeps the kernel's log in a file, ours in it.
func (n *Node) startLogs() error {
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("read the kernel's log: %w", err)
	}
	n.logs.setKernel(f)
	file := n.newLog("kernel")
	watch := &oomWatch{node: n, bundles: bundle.Dir}
	n.spawn("kernel log", func() {
		if err := kmsg.Copy(file, f, watch.said); !errors.Is(err, os.ErrClosed) {
			n.Log.Error("the kernel's log is not kept any more: %v", err)
		}
	})
	return nil
}

// logLimit is how many bytes a file of a log may have. A log in memory is kept small. It
// is work.
func (n *Node) logLimit() int64 {
	limit := int64(8 << 20)
	if !n.work.data.keeps() {
		limit = min(limit, max(int64(n.memory/512), 512<<10))
	}
	return limit
}

// newLog opens a log in /var/log. It is work.
func (n *Node) newLog(name string) *logfile.File {
	file := logfile.New(filepath.Join(logDir, name+".log"), n.logLimit(), logFiles)
	file.Report = n.Log.Error
	if id, err := logfile.BootID(); err == nil {
		file.Boot = id // so that readers find where this boot begins
	}
	n.spawn("log of "+name, file.Run)
	n.logs.add(file)
	return file
}

// stopLogs lets go of the data partition.
func (n *Node) stopLogs() error {
	n.logs.close()
	return nil
}
