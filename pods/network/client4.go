package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"

	"kios/internal/boottime"
	"kios/pods/network/dhcp"
)

// outside4 is what the port's DHCPv4 client acts on.
type outside4 struct {
	*dhcp.Conn
	port *port
}

// startDHCP4 starts the port's DHCPv4 client with the lease of before, if any.
func (p *port) startDHCP4(kept *dhcp.Lease) error {
	conn, err := dhcp.Listen(p.link.index, p.link.name)
	if err != nil {
		return err
	}
	m := dhcp.NewMachine(p.identity, outside4{conn, p}, p.logf)
	if kept != nil {
		m.Resume(kept)
		p.offer(byDHCP4, learned4(kept))
	}
	p.v4 = p.startClient(func(ctx context.Context, carrier <-chan bool) error {
		return dhcp.Run(ctx, m, carrier, conn)
	}, conn.Close)
	return nil
}

func (p *port) identity() dhcp.Identity {
	return dhcp.Identity{HardwareAddr: p.link.mac, Hostname: hostname(), MTU: p.link.mtu}
}

// Send implements dhcp.Outside.
func (o outside4) Send(m *dhcpv4.DHCPv4, to netip.Addr) {
	if err := o.Conn.Send(m, to); err != nil && !errors.Is(err, net.ErrClosed) {
		o.port.logf("send %s: %v", m.MessageType(), err)
	}
}

// Apply implements dhcp.Outside.
func (o outside4) Apply(l, old *dhcp.Lease) error {
	p := o.port
	if p.conf.MTU == 0 && l.MTU != 0 {
		if err := setLeasedMTU(p.link.index, l.MTU); err != nil {
			return err
		}
	}
	if err := applyLease(p.link.index, l, old, boottime.Now()); err != nil {
		return err
	}
	p.remember(func(r *record) { r.Lease = l })
	if old == nil || old.Address != l.Address {
		p.restoreStatic()
	}
	p.offer(byDHCP4, learned4(l))
	return nil
}

func setLeasedMTU(index, mtu int) error {
	nl, err := netlink.LinkByIndex(index)
	if err != nil {
		return fmt.Errorf("find interface %d: %w", index, err)
	}
	if nl.Attrs().MTU == mtu {
		return nil
	}
	if err := netlink.LinkSetMTU(nl, mtu); err != nil {
		return fmt.Errorf("set MTU %d: %w", mtu, err)
	}
	return nil
}

// Drop implements dhcp.Outside.
func (o outside4) Drop(l *dhcp.Lease) {
	p := o.port
	p.logErrors(removeLease(p.link.index, l, p.conf.Addresses))
	p.remember(func(r *record) { r.Lease = nil })
	p.restoreStatic()
	p.offer(byDHCP4, learned{})
}
