//go:build root

package boot

import (
	"encoding/binary"
	"errors"
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
	if err := detachServers(mine, map[string]bool{}); !errors.Is(err, errHangs) {
		t.Errorf("error = %v, want %v", err, errHangs)
	}
	for _, looked := range looks {
		if err := <-looked; err == nil {
			t.Error("a server that is gone has answered")
		}
	}
	if took := time.Since(start); took > 2*otherBound {
		t.Errorf("it took %v, want less than %v for all", took, 2*otherBound)
	}
	infos, err = mount.List()
	lab.Must(t, err)
	if left := mount.Below(infos, dir); len(left) != 0 {
		t.Errorf("%d are still mounted", len(left))
	}
}

// What a server is to have is with it before it is let go of, even while files are open.
func TestDetachHealthyServer(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := t.TempDir()
	server := serve(t, dir)
	f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_WRONLY, 0)
	lab.Must(t, err)
	defer f.Close()
	_, err = f.WriteString("line\n") // which stays in the kernel for now
	lab.Must(t, err)
	infos, err := mount.List()
	lab.Must(t, err)
	start := time.Now()
	lab.Must(t, detachServers(mount.Below(infos, dir), map[string]bool{}))
	if took := time.Since(start); took >= otherBound {
		t.Errorf("it took %v", took)
	}
	select {
	case got := <-server.written:
		if got != "line\n" {
			t.Errorf("the server has %q", got)
		}
	case <-time.After(long):
		t.Error("the server has nothing")
	}
	if err := f.Sync(); err != nil && !errors.Is(err, unix.ENOSYS) {
		t.Errorf("who still uses the file is cut off: %v", err)
	}
}

// fuseServer has one file, to which the kernel need not write at once.
type fuseServer struct {
	device  int
	written chan string
}

// From the kernel's include/uapi/linux/fuse.h.
const (
	fuseLookup, fuseForget, fuseGetattr, fuseSetattr = 1, 2, 3, 4
	fuseOpen, fuseWrite, fuseInit, fuseOpendir       = 14, 16, 26, 27
	fuseWritebackCache                               = 1 << 16
)

// serve mounts it.
func serve(t *testing.T, dir string) fuseServer {
	t.Helper()
	// Reads are to block: to epoll(7), which package os takes, the device says nothing if it
	// was not mounted yet when it was opened.
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	lab.Must(t, err)
	t.Cleanup(func() { unix.Close(device) })
	lab.Must(t, unix.Mount("server", dir, "fuse.small", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device)))
	s := fuseServer{device, make(chan string, 8)}
	go s.run()
	return s
}

func (s fuseServer) run() {
	request := make([]byte, 64<<10)
	for {
		n, err := unix.Read(s.device, request)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return // it was unmounted
		}
		s.answer(request[:n])
	}
}

func (s fuseServer) answer(request []byte) {
	opcode := binary.LittleEndian.Uint32(request[4:])
	if opcode == fuseForget {
		return
	}
	body, errno := s.reply(opcode, binary.LittleEndian.Uint64(request[16:]), request[40:])
	answer := words(uint32(16+len(body)), -uint32(errno))
	answer = append(append(answer, request[8:16]...), body...)
	_, _ = unix.Write(s.device, answer)
}

func (s fuseServer) reply(opcode uint32, node uint64, in []byte) ([]byte, unix.Errno) {
	switch opcode {
	case fuseInit: // version, read-ahead, flags, background, largest write
		return append(words(7, 31, 0, fuseWritebackCache, 0, 4096, 1), make([]byte, 36)...), 0
	case fuseLookup: // node, generation, and for how long that holds
		return append(words(2, 0, 0, 0, 60, 0, 60, 0, 0, 0), attributes(unix.S_IFREG)...), 0
	case fuseGetattr, fuseSetattr:
		mode := uint32(unix.S_IFREG)
		if node == 1 {
			mode = unix.S_IFDIR
		}
		return append(words(60, 0, 0, 0), attributes(mode)...), 0
	case fuseOpen, fuseOpendir:
		return make([]byte, 16), 0
	case fuseWrite:
		s.written <- string(in[40:])
		return words(uint32(len(in)-40), 0), 0
	}
	return nil, unix.ENOSYS
}

// attributes are inode, size, blocks, times, mode, links and owner.
func attributes(mode uint32) []byte {
	return words(2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, mode|0o700, 1, 0, 0, 0, 4096, 0)
}

func words(values ...uint32) (b []byte) {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// A disk is reached although another one is mounted over its first mount.
func TestCoveredDisk(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	disk, second := lab.NewExt4(t), t.TempDir()
	lab.Must(t, errors.Join(unix.Mount(disk.Dir, second, "", unix.MS_BIND, ""), unix.Mount("tmpfs", disk.Dir, "tmpfs", 0, "")))
	lab.WriteFile(t, filepath.Join(second, "file"), "line\n")
	all, err := mount.List()
	lab.Must(t, err)
	infos := append(ofType(mount.Below(all, disk.Dir), "ext4"), mount.Below(all, second)...)
	n, _ := node(t)
	n.saveDisks(infos)
	if err := os.WriteFile(filepath.Join(second, "late"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to the disk = %v, want %v", err, unix.EROFS)
	}
	lab.WriteFile(t, filepath.Join(disk.Dir, "late"), "") // the other one is as it was
	lab.Must(t, errors.Join(unix.Unmount(disk.Dir, 0), unix.Unmount(second, 0)))
	disk.Cut()
	if got := lab.ReadFile(t, filepath.Join(disk.Dir, "file")); got != "line\n" {
		t.Errorf("after a power cut the file holds %q", got)
	}
}

func ofType(infos []mount.Info, fs string) (found []mount.Info) {
	for _, m := range infos {
		if m.Type == fs {
			found = append(found, m)
		}
	}
	return found
}
