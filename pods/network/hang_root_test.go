//go:build root

package network

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// From the kernel's include/uapi/linux/fs.h.
const (
	fiFreeze = 0xc0045877 // _IOWR('X', 119, int)
	fiThaw   = 0xc0045878
)

// hang makes a file system hang, as a disk does that does not answer: whoever writes
// waits.
func hang(t *testing.T, dir string) (goOn func()) {
	t.Helper()
	f, err := os.Open(dir)
	lab.Must(t, err)
	lab.Must(t, unix.IoctlSetInt(int(f.Fd()), fiFreeze, 0))
	return func() {
		lab.Must(t, unix.IoctlSetInt(int(f.Fd()), fiThaw, 0))
		f.Close()
	}
}

// The copies for the next boot are on the data partition. Its disk hangs from the start.
func TestDiskThatHangs(t *testing.T) {
	l := newLAN(t)
	disk := lab.NewExt4(t)
	lab.Must(t, os.Symlink(disk.Dir, l.path("last")))
	goOn := hang(t, disk.Dir)
	l.startDNSMasq("--dhcp-option=58,5", "--dhcp-option=59,90", "--dhcp-option=6,10.77.0.1")
	l.startService("eth0")
	t.Cleanup(goOn) // first of all: nobody ends who waits for the disk
	l.eventually("an address", 5*time.Second, l.hasAddress)
	l.eventually("resolv.conf", 5*time.Second, func() bool { return strings.HasSuffix(l.resolver(), "\nnameserver 10.77.0.1\n") })
	l.eventually("two renewals", 15*time.Second, func() bool { return strings.Count(l.service.String(), "extended by 2m0s") >= 2 })
	l.configure("  eth0: {addresses: [10.77.0.20/24]}\n")
	l.eventually("the address of the file", 5*time.Second, func() bool { return l.has("-4 addr show eth0", "inet 10.77.0.20/24") })
}
