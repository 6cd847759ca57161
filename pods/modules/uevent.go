package modules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// event is the news of a device, or that some news were lost.
type event struct {
	device device
	lost   bool
}

// maxUevent is more than the kernel's UEVENT_BUFFER_SIZE and a path.
const maxUevent = 8 << 10

// listen sends each device that the kernel announces, until ctx ends, see
// NETLINK_KOBJECT_UEVENT in netlink(7). Call it before walk, and nothing slips
// through between the two.
func listen(ctx context.Context) (<-chan event, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("open a socket for the kernel's uevents: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "uevents")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		socket.Close()
		return nil, fmt.Errorf("subscribe to the kernel's uevents: %w", err)
	}
	context.AfterFunc(ctx, func() { socket.Close() })
	events := make(chan event, 64)
	go func() {
		defer close(events)
		receive(socket, events)
	}()
	return events, nil
}

// receive ends when the socket is closed.
func receive(socket *os.File, events chan<- event) {
	conn, err := socket.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, maxUevent)
	for {
		n, from, err := receiveOne(conn, buf)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			events <- event{lost: true}
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return
		default:
			if d, ok := parseUevent(buf[:n]); ok && fromKernel(from) {
				events <- event{device: d}
			}
		}
	}
}

// conn is what receiveOne needs of a syscall.RawConn.
type conn interface {
	Read(func(fd uintptr) (done bool)) error
}

func receiveOne(c conn, buf []byte) (n int, from unix.Sockaddr, err error) {
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

// parseUevent returns the device that a message announces, if it does announce
// one: "add@/devices/...", then KEY=VALUE, each ended by a zero byte.
func parseUevent(message []byte) (device, bool) {
	if !bytes.HasPrefix(message, []byte("add@")) {
		return device{}, false
	}
	fields := map[string]string{}
	for field := range bytes.SplitSeq(message, []byte{0}) {
		if key, value, found := bytes.Cut(field, []byte("=")); found {
			fields[string(key)] = string(value)
		}
	}
	d := device{
		name:  fields["SUBSYSTEM"] + " device " + path.Base(fields["DEVPATH"]),
		alias: fields["MODALIAS"],
	}
	return d, d.alias != ""
}
