package uevent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"kios/test/lab"
)

func TestParse(t *testing.T) {
	for message, want := range map[string]Event{
		"add@/devices/x\x00ACTION=add\x00SUBSYSTEM=block\x00SEQNUM=1\x00": {Action: "add", Fields: map[string]string{"ACTION": "add", "SUBSYSTEM": "block", "SEQNUM": "1"}},
		"remove@/devices/x\x00SUBSYSTEM=net\x00":                          {Action: "remove", Fields: map[string]string{"SUBSYSTEM": "net"}},
		"libudev\x00SUBSYSTEM=net\x00":                                    {Fields: map[string]string{"SUBSYSTEM": "net"}},
		"":                                                                {Fields: map[string]string{}},
	} {
		if diff := cmp.Diff(want, Parse([]byte(message))); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", message, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00SUBSYSTEM=usb\x00DEVPATH=/devices/x\x00MODALIAS=usb:v1\x00"))
	f.Add([]byte("add@\x00=\x00MODALIAS=\x00"))
	f.Add([]byte(strings.Repeat("=\x00", 8<<10)))
	f.Add([]byte(manyFields()))
	f.Fuzz(func(t *testing.T, message []byte) {
		message = message[:min(len(message), len(Socket{}.buf))]
		if took := lab.Allocated(func() { Parse(message) }); took > 4<<20 {
			t.Errorf("a message of %d bytes became %d", len(message), took)
		}
	})
}

// manyFields is a message of as many fields as fit.
func manyFields() string {
	var b strings.Builder
	for n := 0; b.Len() < 16<<10; n++ {
		fmt.Fprintf(&b, "%x=\x00", n)
	}
	return b.String()
}

func TestFromKernel(t *testing.T) {
	if !fromKernel(&unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}) {
		t.Error("the kernel's own messages are refused")
	}
	for _, from := range []unix.Sockaddr{nil, &unix.SockaddrNetlink{Pid: 77, Groups: 1}, &unix.SockaddrUnix{}} {
		if fromKernel(from) {
			t.Errorf("a message of %+v is taken for the kernel's", from)
		}
	}
}

// A program that announces a device is not heard: not by Next, and Wait waits on.
func TestStrangersAreNotHeard(t *testing.T) {
	s, err := Listen()
	if err != nil {
		t.Skip("no uevents here: ", err)
	}
	defer s.Close()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	lab.Must(t, err)
	defer unix.Close(fd)
	const message = "add@/devices/strange\x00SUBSYSTEM=strange\x00"
	if err := unix.Sendto(fd, []byte(message), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		t.Skip("only CAP_NET_ADMIN may send to the group: ", err)
	}
	const bound = 100 * time.Millisecond
	start := time.Now()
	if s.Wait("strange", bound); time.Since(start) < bound {
		t.Error("Wait hears a program")
	}
}

func TestWaitEnds(t *testing.T) {
	s, err := Listen()
	if err != nil {
		t.Skip("no uevents here: ", err)
	}
	const bound = 50 * time.Millisecond
	start := time.Now()
	if s.Wait("none", bound); time.Since(start) < bound {
		t.Error("Wait returns before its bound")
	}
	time.AfterFunc(bound, func() { s.Close() })
	for {
		if _, err := s.Next(); err != nil { // the machine's own events may come first
			return
		}
	}
}
