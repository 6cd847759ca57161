//go:build guest

package boot

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/internal/userfile"
	"kios/test/lab"
)

// TestStrangeFiles has what is no file in places where PID 1 reads files and makes them.
// A FIFO would hold it up for ever, before the first pod.
func TestStrangeFiles(t *testing.T) {
	n, _ := node(t)
	n.self.update(func(f *facts) { f.hostname = "node-1" })
	lab.Must(t, os.MkdirAll("/etc", 0o755))
	for _, tt := range []struct {
		file string
		make func(string) error
		do   func() error
		want string // in the file that covers it
	}{
		{"/etc/hosts", fifo, n.writeHosts, "127.0.1.1 node-1 "},
		{"/etc/machine-id", fifo, n.setMachineID, "\n"},
		{"/etc/hosts", toNowhere, n.writeHosts, "127.0.1.1 node-1 "},
	} {
		os.Remove(tt.file)
		lab.Must(t, tt.make(tt.file))
		lab.Must(t, tt.do())
		text, err := userfile.Read(tt.file, userfile.Max)
		if err != nil || !strings.Contains(string(text), tt.want) {
			t.Errorf("%s holds %q, %v, want %q in it", tt.file, text, err, tt.want)
		}
		unix.Unmount(tt.file, 0)
		os.Remove(tt.file)
	}
	if len(n.self.get().machineID) != 32 {
		t.Errorf("the machine id is %q", n.self.get().machineID)
	}
}

func fifo(path string) error { return unix.Mkfifo(path, 0o600) }

func toNowhere(path string) error { return os.Symlink("../gone/file", path) }
