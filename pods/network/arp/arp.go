// Package arp finds out whether another machine has an IPv4 address, and tells the
// machines on the link who has it now: the probes and announcements of RFC 5227 on
// one Ethernet interface.
//
// It takes another machine for one that has the address only if that machine says
// so, with a hardware address that no interface of this machine has. Its probes for the
// address, which RFC 5227 counts as well, mean nothing: some switches send them to find
// out which of their ports a machine is on.
package arp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Of RFC 826; all are for Ethernet and IPv4.
const (
	length       = 28
	opRequest    = 1
	atOp         = 6
	atSenderMAC  = 8
	atSender     = 14
	atTarget     = 24
	hardwareSize = 6
)

// header is what each packet begins with, up to its operation.
var header = []byte{0, 1, 0x08, 0x00, hardwareSize, 4}

// request returns a request. Without a sender it is a probe, and an announcement if
// sender and target are the same.
func request(mac net.HardwareAddr, sender, target netip.Addr) []byte {
	p := make([]byte, length)
	copy(p, header)
	binary.BigEndian.PutUint16(p[atOp:], opRequest)
	copy(p[atSenderMAC:atSender], mac)
	if sender.IsValid() {
		copy(p[atSender:], sender.AsSlice())
	}
	copy(p[atTarget:], target.AsSlice())
	return p
}

// Claim is another machine's claim to an address.
type Claim struct {
	Addr netip.Addr
	By   net.HardwareAddr
}

// claimIn returns what a packet claims, unless it comes from mac or is a probe.
func claimIn(packet []byte, mac net.HardwareAddr) (Claim, bool) {
	if len(packet) < length || !bytes.HasPrefix(packet, header) {
		return Claim{}, false
	}
	by := packet[atSenderMAC:atSender]
	addr := netip.AddrFrom4([4]byte(packet[atSender:]))
	if bytes.Equal(by, mac) || addr.IsUnspecified() {
		return Claim{}, false
	}
	return Claim{addr, bytes.Clone(by)}, true
}

// Conn sends and receives on one interface.
type Conn struct {
	file   *os.File
	index  int
	mac    net.HardwareAddr
	claims chan Claim
}

// Listen opens a socket for the interface. It receives nothing before [Conn.Watch].
// It takes CAP_NET_RAW.
func Listen(index int) (*Conn, error) {
	nic, err := net.InterfaceByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("find interface %d: %w", index, err)
	}
	// Protocol 0 receives nothing until bind: no packet gets past the filter.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	c := &Conn{file: os.NewFile(uintptr(fd), "arp"), index: index, mac: nic.HardwareAddr, claims: make(chan Claim, 1)}
	if err := c.Watch(netip.Addr{}); err != nil {
		c.file.Close()
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: index}); err != nil {
		c.file.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	go c.receive()
	return c, nil
}

// Close closes the socket.
func (c *Conn) Close() { c.file.Close() }

// Claims returns the channel on which claims to a watched address arrive. It is
// closed with the socket. When nobody reads it, claims are lost.
func (c *Conn) Claims() <-chan Claim { return c.claims }

// Watch makes the socket receive what senders with this address say, or nothing if
// addr is not valid: no other packet wakes the program up.
func (c *Conn) Watch(addr netip.Addr) error {
	filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	if addr.Is4() {
		a := addr.As4()
		filter = []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: atSender},
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: binary.BigEndian.Uint32(a[:]), Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: length},
			{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		}
	}
	return c.control(func(fd int) error {
		err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
		return os.NewSyscallError("attach filter", err)
	})
}

// Probe asks whether another machine has the address. Such a machine's answer is a
// claim, if the address is watched.
func (c *Conn) Probe(addr netip.Addr) error {
	return c.send(request(c.mac, netip.Addr{}, addr))
}

// Announce tells all machines on the link that this one has the address now.
func (c *Conn) Announce(addr netip.Addr) error {
	return c.send(request(c.mac, addr, addr))
}

func (c *Conn) send(packet []byte) error {
	everyone := &unix.SockaddrLinklayer{
		Protocol: networkOrder(unix.ETH_P_ARP),
		Ifindex:  c.index,
		Halen:    hardwareSize,
		Addr:     [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	return c.control(func(fd int) error {
		return os.NewSyscallError("send", unix.Sendto(fd, packet, 0, everyone))
	})
}

// control calls f with the socket, unless that is closed.
func (c *Conn) control(f func(fd int) error) error {
	rc, err := c.file.SyscallConn()
	if err != nil {
		return net.ErrClosed
	}
	if closed := rc.Control(func(fd uintptr) { err = f(int(fd)) }); closed != nil {
		return net.ErrClosed
	}
	return err
}

func (c *Conn) receive() {
	defer close(c.claims)
	buf := make([]byte, length)
	for {
		n, err := c.file.Read(buf)
		if errors.Is(err, unix.ENETDOWN) {
			continue // reported once when the interface goes down
		}
		if err != nil {
			return
		}
		c.take(buf[:n])
	}
}

// take hands a claim on, unless it is this machine's: with two cards on one link each
// answers for the other's addresses, too.
func (c *Conn) take(packet []byte) {
	claim, ok := claimIn(packet, c.mac)
	if !ok || isOurs(claim.By) {
		return
	}
	select {
	case c.claims <- claim:
	default:
	}
}

// isOurs reports whether an interface of this machine has the hardware address.
func isOurs(mac net.HardwareAddr) bool {
	nics, _ := net.Interfaces() // an error leaves none, and the claim another machine's
	return slices.ContainsFunc(nics, func(nic net.Interface) bool { return bytes.Equal(nic.HardwareAddr, mac) })
}

func networkOrder(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
