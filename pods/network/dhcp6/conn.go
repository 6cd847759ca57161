package dhcp6

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"
)

const clientPort = 546

// servers is All_DHCP_Relay_Agents_and_Servers, port 547. It needs no zone: the
// socket is bound to a device.
var servers = netip.MustParseAddrPort("[ff02::1:2]:547")

// conn sends and receives DHCPv6 messages on one interface, by its link-local
// address: the source that RFC 8415 asks for, and one that nobody beyond the
// link can send to.
type conn struct {
	udp     *net.UDPConn
	replies chan []byte
}

func listen(name string, local netip.Addr) (*conn, error) {
	control := func(_, _ string, rc syscall.RawConn) error {
		var err error
		ctlErr := rc.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), name) })
		return errors.Join(ctlErr, os.NewSyscallError("bind to device", err))
	}
	lc := net.ListenConfig{Control: control}
	at := netip.AddrPortFrom(local.WithZone(""), clientPort)
	udp, err := lc.ListenPacket(context.Background(), "udp6", at.String())
	if err != nil {
		return nil, fmt.Errorf("open UDP port %d on %s: %w", clientPort, name, err)
	}
	c := &conn{udp: udp.(*net.UDPConn), replies: make(chan []byte, 8)}
	go c.receive()
	return c, nil
}

func (c *conn) send(p *dhcpv6.Message) error {
	_, err := c.udp.WriteToUDPAddrPort(p.ToBytes(), servers)
	return err
}

// receive hands messages on, unread, until the socket is closed. When nobody reads
// them, they are lost, as on any network.
func (c *conn) receive() {
	defer close(c.replies)
	buf := make([]byte, maxMessage+1) // one more shows that a message is too long
	for {
		n, err := c.udp.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an earlier message could not be delivered
		}
		select {
		case c.replies <- bytes.Clone(buf[:n]):
		default:
		}
	}
}
