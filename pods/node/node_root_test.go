//go:build root

package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// Nobody can open a device on a file system that is mounted with nodev, not even root.
func TestDeviceInPlaceOfALog(t *testing.T) {
	dir := t.TempDir()
	lab.Must(t, unix.Mount("logs", dir, "tmpfs", unix.MS_NODEV, "size=1M"))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	path := filepath.Join(dir, "a.log")
	zero := int(unix.Mkdev(1, 5))
	lab.Must(t, unix.Mknod(numbered(path, 1), unix.S_IFCHR|0o666, zero))
	lab.Must(t, os.WriteFile(path, []byte("one\n"), 0o640))
	out, _ := tail(t, path)
	out.expect(t, "one\n")
	lab.Must(t, unix.Mknod(path+".new", unix.S_IFCHR|0o666, zero))
	lab.Must(t, os.Rename(path+".new", path))
	lab.Must(t, os.WriteFile(path+".new", []byte("two\n"), 0o640))
	lab.Must(t, os.Rename(path+".new", path))
	out.wait(t, "print the next log", func() bool { return strings.HasSuffix(out.String(), "\ntwo\n") })
}

// The pod's root has no capabilities: it cannot read what another user keeps for himself.
func TestLogOfAnotherUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log.1")
	lab.Must(t, os.WriteFile(path, []byte("one\n"), 0o600))
	for p := filepath.Dir(path); len(p) > len(os.TempDir()); p = filepath.Dir(p) {
		lab.Must(t, os.Chmod(p, 0o755))
	}
	failure := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this
		if _, err := unix.SetfsuidRetUid(65534); err != nil {
			failure <- err
			return
		}
		_, err := openLog(path)
		failure <- err
	}()
	if err := <-failure; !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("openLog = %v, want %v", err, fs.ErrNotExist)
	}
}
