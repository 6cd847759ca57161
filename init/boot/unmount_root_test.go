//go:build root

package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/init/mount"
	"kios/test/lab"
)

// silent mounts a file system whose server never answers, and returns what a look at it
// leads to, in the end.
func silent(t *testing.T, dir string) <-chan error {
	t.Helper()
	server, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	lab.Must(t, err)
	t.Cleanup(func() { server.Close() })
	lab.Must(t, os.Mkdir(dir, 0o755))
	lab.Must(t, unix.Mount("server", dir, "fuse.silent", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server.Fd())))
	looked := make(chan error, 1)
	go func() {
		var st unix.Stat_t
		looked <- unix.Stat(filepath.Join(dir, "file"), &st)
	}()
	return looked
}

// Servers that are gone are left, however many there are, with those who wait for them.
func TestDetachServers(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := t.TempDir()
	var looks []<-chan error
	for i := range 30 {
		looks = append(looks, silent(t, filepath.Join(dir, fmt.Sprint(i))))
	}
	infos, err := mount.List()
	lab.Must(t, err)
	mine := mount.Below(infos, dir)
	if len(mine) != 30 {
		t.Fatalf("%d mounts, want 30", len(mine))
	}
	start := time.Now()
	lab.Must(t, detachServers(mine, map[string]bool{}))
	for _, looked := range looks {
		if err := <-looked; err == nil {
			t.Error("a server that is gone has answered")
		}
	}
	if took := time.Since(start); took > otherBound {
		t.Errorf("it took %v, want less than %v for all", took, otherBound)
	}
	infos, err = mount.List()
	lab.Must(t, err)
	if left := mount.Below(infos, dir); len(left) != 0 {
		t.Errorf("%d are still mounted", len(left))
	}
}
