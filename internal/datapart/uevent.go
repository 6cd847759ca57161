package datapart

import (
	"bytes"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Uevents is the kernel's own announcement of devices (NETLINK_KOBJECT_UEVENT
// in netlink(7)). Open it before the first look at the devices, and nothing
// can slip through between the two.
type Uevents struct{ fd int }

// OpenUevents starts to listen.
func OpenUevents() (*Uevents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("listen for devices: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen for devices: %w", err)
	}
	return &Uevents{fd}, nil
}

// Close stops listening.
func (u *Uevents) Close() { unix.Close(u.fd) }

// Wait returns after the next change of a block device, or after the bound.
func (u *Uevents) Wait(bound time.Duration) {
	buf := make([]byte, 16<<10)
	for deadline := time.Now().Add(bound); ; {
		left := time.Until(deadline)
		if left <= 0 {
			return
		}
		poll := []unix.PollFd{{Fd: int32(u.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, int(left.Milliseconds())+1); n <= 0 && err != unix.EINTR {
			return
		}
		n, _, err := unix.Recvfrom(u.fd, buf, unix.MSG_DONTWAIT)
		// ENOBUFS says that announcements were lost: look again to be sure.
		if err == unix.ENOBUFS || err == nil && aboutBlock(buf[:n]) {
			return
		}
	}
}

// aboutBlock looks into a message: "add@/devices/...", then KEY=VALUE, each
// ended by a zero byte.
func aboutBlock(message []byte) bool {
	return bytes.Contains(message, []byte("\x00SUBSYSTEM=block\x00"))
}
