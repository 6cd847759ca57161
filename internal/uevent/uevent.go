// Package uevent hears what the kernel announces of its devices
// (NETLINK_KOBJECT_UEVENT in netlink(7), lib/kobject_uevent.c). What programs send
// to the same group is not heard.
package uevent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Event is the news of a device, or that some news were lost.
type Event struct {
	Action string            // "add", "remove", "change" ...
	Fields map[string]string // such as SUBSYSTEM, DEVPATH and MODALIAS
	Lost   bool              // nothing else is set then: look at the devices again
}

// Parse reads a message: "add@/devices/...", then KEY=VALUE, each ended by a zero
// byte.
func Parse(message []byte) Event {
	e := Event{Fields: map[string]string{}}
	head, rest, _ := bytes.Cut(message, []byte{0})
	if action, _, found := bytes.Cut(head, []byte("@")); found {
		e.Action = string(action)
	}
	for field := range bytes.SplitSeq(rest, []byte{0}) {
		if key, value, found := bytes.Cut(field, []byte("=")); found {
			e.Fields[string(key)] = string(value)
		}
	}
	return e
}

// Socket hears the announcements from Listen to Close. Open it before the first
// look at the devices, and nothing can slip through between the two.
type Socket struct {
	file *os.File
	raw  syscall.RawConn
	buf  [16 << 10]byte // more than the kernel's UEVENT_BUFFER_SIZE and a path
}

// Listen starts to listen.
func Listen() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("open a socket for the kernel's uevents: %w", err)
	}
	s := &Socket{file: os.NewFile(uintptr(fd), "uevents")}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1})
	if err == nil {
		s.raw, err = s.file.SyscallConn()
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("subscribe to the kernel's uevents: %w", err)
	}
	return s, nil
}

// Close stops listening, and ends a Next that waits.
func (s *Socket) Close() error { return s.file.Close() }

// Next waits for the next event of the kernel.
func (s *Socket) Next() (Event, error) {
	for {
		n, from, err := receive(s.raw, s.buf[:])
		switch {
		case errors.Is(err, unix.ENOBUFS):
			return Event{Lost: true}, nil
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return Event{}, err
		case fromKernel(from):
			return Parse(s.buf[:n]), nil
		}
	}
}

// Wait returns after the next change of a device of the subsystem, or after the
// bound. News that were lost count as such a change.
func (s *Socket) Wait(subsystem string, bound time.Duration) {
	_ = s.file.SetReadDeadline(time.Now().Add(bound))
	defer s.file.SetReadDeadline(time.Time{})
	for {
		e, err := s.Next()
		if err != nil || e.Lost || e.Fields["SUBSYSTEM"] == subsystem {
			return
		}
	}
}

// conn is what receive needs of a syscall.RawConn.
type conn interface {
	Read(func(fd uintptr) (done bool)) error
}

func receive(c conn, buf []byte) (n int, from unix.Sockaddr, err error) {
	waitErr := c.Read(func(fd uintptr) bool {
		n, from, err = unix.Recvfrom(int(fd), buf, 0)
		return !errors.Is(err, unix.EAGAIN)
	})
	if waitErr != nil {
		err = waitErr
	}
	return n, from, err
}

// fromKernel tells the kernel's messages from those of a program, which may
// send to the group, too, if it has CAP_NET_ADMIN.
func fromKernel(from unix.Sockaddr) bool {
	sender, ok := from.(*unix.SockaddrNetlink)
	return ok && sender.Pid == 0
}
