package dhcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"kios/pods/network/arp"
)

const (
	clientPort = 68
	serverPort = 67

	// maxPacket is the longest packet that is read. Servers keep to what option 57
	// allows, which is less.
	maxPacket = 4096
)

// Conn sends and receives DHCP messages on one interface, which needs no
// address for that.
//
// All messages are received, and broadcasts are sent, through a packet socket:
// IP itself takes no packets for an address that the interface does not have
// yet. Messages to one server go through an ordinary UDP socket, because the
// kernel knows the way there. That socket receives nothing; that it is open
// keeps the kernel from answering servers with "port unreachable".
//
// It has the interface's ARP, too.
type Conn struct {
	*arp.Conn
	raw     *os.File
	udp     *net.UDPConn
	index   int
	replies chan []byte
}

// Listen opens the sockets for the interface. It takes CAP_NET_RAW (packet
// socket) and CAP_NET_BIND_SERVICE (port 68).
func Listen(index int, name string) (*Conn, error) {
	raw, err := listenPacket(index)
	if err != nil {
		return nil, fmt.Errorf("open packet socket on %s: %w", name, err)
	}
	udp, err := listenUDP(name)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("open UDP port %d on %s: %w", clientPort, name, err)
	}
	neighbours, err := arp.Listen(index)
	if err != nil {
		raw.Close()
		udp.Close()
		return nil, fmt.Errorf("open ARP socket on %s: %w", name, err)
	}
	c := &Conn{Conn: neighbours, raw: raw, udp: udp, index: index, replies: make(chan []byte, 8)}
	go c.receive()
	return c, nil
}

// Close closes the sockets.
func (c *Conn) Close() {
	c.Conn.Close()
	c.raw.Close()
	c.udp.Close()
}

// Replies returns the channel on which messages arrive, as bytes: nobody has looked
// into them. It is closed when the socket is. When nobody reads it, messages are
// lost, as on any network.
func (c *Conn) Replies() <-chan []byte { return c.replies }

// Send sends p to one server, or to everyone on the link if to is not valid.
func (c *Conn) Send(p *dhcpv4.DHCPv4, to netip.Addr) error {
	if to.IsValid() {
		_, err := c.udp.WriteToUDPAddrPort(p.ToBytes(), netip.AddrPortFrom(to, serverPort))
		return err
	}
	return c.broadcast(datagram(p.ToBytes(), p.ClientIPAddr.To4()))
}

func (c *Conn) broadcast(packet []byte) error {
	everyone := &unix.SockaddrLinklayer{
		Protocol: htons(unix.ETH_P_IP),
		Ifindex:  c.index,
		Halen:    6,
		Addr:     [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	rc, err := c.raw.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = rc.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), packet, 0, everyone)
		return !errors.Is(sendErr, unix.EAGAIN)
	})
	return errors.Join(err, sendErr)
}

func (c *Conn) receive() {
	defer close(c.replies)
	buf := make([]byte, maxPacket)
	for {
		n, err := c.raw.Read(buf)
		if errors.Is(err, unix.ENETDOWN) {
			continue // reported once when the interface goes down
		}
		if err != nil {
			return
		}
		payload := udpPayload(buf[:n])
		if payload == nil {
			continue
		}
		select {
		case c.replies <- bytes.Clone(payload):
		default:
		}
	}
}

// repliesOnly is a socket filter for IPv4 packets: unfragmented UDP to the
// client's port. Without it the program would wake up for each packet that the
// machine receives.
var repliesOnly = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9}, // protocol
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 6},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6}, // flags and fragment offset
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x3fff, Jt: 4},
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0}, // length of the IP header
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},  // destination port
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: clientPort, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 65535},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

var nothing = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}

func listenPacket(index int) (*os.File, error) {
	// Protocol 0 receives nothing until bind: no packet gets past the filter.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "packet")
	if err := attach(fd, repliesOnly); err != nil {
		f.Close()
		return nil, os.NewSyscallError("attach filter", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: index}); err != nil {
		f.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return f, nil
}

func listenUDP(name string) (*net.UDPConn, error) {
	control := func(_, _ string, rc syscall.RawConn) error {
		var err error
		ctlErr := rc.Control(func(fd uintptr) {
			err = errors.Join(
				os.NewSyscallError("bind to device", unix.BindToDevice(int(fd), name)),
				os.NewSyscallError("attach filter", attach(int(fd), nothing)),
			)
		})
		return errors.Join(ctlErr, err)
	}
	lc := net.ListenConfig{Control: control}
	conn, err := lc.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", clientPort))
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

func attach(fd int, filter []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
