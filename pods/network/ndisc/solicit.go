package ndisc

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// allRouters is ff02::2.
var allRouters = [16]byte{0: 0xff, 1: 0x02, 15: 0x02}

// Solicit asks the routers on the interface for an advertisement. It takes
// CAP_NET_RAW, and fails with EADDRNOTAVAIL while the interface has no usable
// address. Watch does so itself where it is needed, with one exception that it
// cannot see: accept_ra was set on an interface that had been up before.
func Solicit(index int) error {
	nic, err := net.InterfaceByIndex(index)
	if err != nil {
		return fmt.Errorf("find interface %d: %w", index, err)
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return fmt.Errorf("ask for routers on %s: %w", nic.Name, os.NewSyscallError("socket", err))
	}
	defer unix.Close(fd)
	if err := prepare(fd, nic); err != nil {
		return fmt.Errorf("ask for routers on %s: %w", nic.Name, err)
	}
	to := &unix.SockaddrInet6{Addr: allRouters, ZoneId: uint32(index)}
	if err := unix.Sendto(fd, solicitation(nic.HardwareAddr), 0, to); err != nil {
		return fmt.Errorf("ask for routers on %s: %w", nic.Name, os.NewSyscallError("sendto", err))
	}
	return nil
}

func prepare(fd int, nic *net.Interface) error {
	// It only sends. A set bit blocks its type of message.
	block := &unix.ICMPv6Filter{Data: [8]uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)}}
	if err := unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, block); err != nil {
		return os.NewSyscallError("ICMPV6_FILTER", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, nic.Index); err != nil {
		return os.NewSyscallError("IPV6_MULTICAST_IF", err)
	}
	// Routers drop what may have come from elsewhere (RFC 4861, section 6.1.1).
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255)
	return os.NewSyscallError("IPV6_MULTICAST_HOPS", err)
}

// solicitation returns the message of RFC 4861, section 4.1; the kernel fills in
// the checksum. The source's link-layer address spares the router a question.
func solicitation(mac net.HardwareAddr) []byte {
	const routerSolicit, sourceLinkLayer = 133, 1
	m := []byte{routerSolicit, 0, 0, 0}
	m = binary.BigEndian.AppendUint32(m, 0)
	if len(mac) == 6 {
		m = append(m, sourceLinkLayer, 1)
		m = append(m, mac...)
	}
	return m
}
