//go:build guest

package mountcmd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"

	"kios/internal/modprobe"
	"kios/test/lab"

	"golang.org/x/sys/unix"
)

// oldServer listens where NFS servers do, and answers each call that it does not have
// this version of the program (RFC 5531, PROG_MISMATCH). It reports the calls as
// PROGRAM/VERSION.
func oldServer(t *testing.T) (calls <-chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:2049")
	lab.Must(t, err)
	t.Cleanup(func() { listener.Close() })
	seen := make(chan string, 100)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go refuseCalls(c, seen)
		}
	}()
	return seen
}

func refuseCalls(c net.Conn, seen chan<- string) {
	defer c.Close()
	be := binary.BigEndian
	for {
		mark := make([]byte, 4)
		if _, err := io.ReadFull(c, mark); err != nil {
			return
		}
		call := make([]byte, be.Uint32(mark)&0xffff)
		if _, err := io.ReadFull(c, call); err != nil || len(call) < 24 {
			return
		}
		seen <- fmt.Sprintf("%d/%d", be.Uint32(call[12:]), be.Uint32(call[16:]))
		reply := be.AppendUint32(nil, 1<<31|32)
		reply = append(reply, call[:4]...)                   // xid
		for _, word := range []uint32{1, 0, 0, 0, 2, 1, 1} { // reply, accepted, no verifier, mismatch
			reply = be.AppendUint32(reply, word)
		}
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

func loopbackUp(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	lab.Must(t, err)
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	lab.Must(t, err)
	lab.Must(t, unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr))
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	lab.Must(t, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
}

// TestNFSReachesTheServer shows that the kernel accepts the options that mount gives it,
// and that versions are tried in turn. A server that has any of them would need a kernel
// with nfsd.
func TestNFSReachesTheServer(t *testing.T) {
	for _, module := range []string{"nfsv3", "nfsv4"} {
		if code := modprobe.Command([]string{module}, os.Stdout, os.Stderr); code != 0 {
			t.Fatalf("modprobe %s = %d", module, code)
		}
	}
	loopbackUp(t)
	calls := oldServer(t)
	for _, tt := range []struct {
		options string
		calls   []string
		err     string
	}{
		{"soft", []string{"100003/4", "100003/4", "100003/4"}, "NFS version 3 needs rpc.statd"},
		{"soft,vers=4.1", []string{"100003/4"}, "the server does not have that version of NFS"},
		{"soft,vers=3,nolock,port=2049,mountport=2049", []string{"100005/3"}, "the server does not have that version of NFS"},
	} {
		var stdout, stderr bytes.Buffer
		code := Mount([]string{"-t", "nfs", "-o", tt.options, "127.0.0.1:/srv", t.TempDir()}, &stdout, &stderr)
		if code != exitFail || !bytes.Contains(stderr.Bytes(), []byte(tt.err)) {
			t.Errorf("mount -o %s = %d, %s, want %q", tt.options, code, stderr.String(), tt.err)
		}
		var got []string
		for len(calls) > 0 {
			got = append(got, <-calls)
		}
		if !slices.Equal(got, tt.calls) {
			t.Errorf("mount -o %s: calls %q, want %q", tt.options, got, tt.calls)
		}
	}
}
