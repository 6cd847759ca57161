package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kios/internal/boottime"
	"kios/pods/network/dhcp"
	"kios/pods/network/netconf"
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
		p.routeBySource(kept)
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

// Apply implements dhcp.Outside. The address decides whether the lease is of use:
// an MTU or a route that the kernel refuses costs a line.
func (o outside4) Apply(l, old *dhcp.Lease) error {
	p := o.port
	replaced, err := applyLease(p.link.index, l, old, metricOf(p.link.index, p.conf), boottime.Now())
	if err != nil {
		return err
	}
	p.complain("DHCP", append(p.applyTerms(l), replaced))
	p.remember(func(r *record) { r.Lease = l })
	if old == nil || old.Address != l.Address {
		p.restoreStatic()
	}
	p.offer(byDHCP4, learned4(l))
	p.routeBySource(l)
	if old != nil && !slices.Equal(old.Routes, l.Routes) {
		p.service.vacate()
	}
	return nil
}

// applyTerms sets what comes with a leased address, and returns what could not be
// set.
func (p *port) applyTerms(l *dhcp.Lease) []error {
	var errs []error
	if p.conf.MTU == 0 && l.MTU != 0 && p.conf.Takes(netconf.MTU) {
		errs = append(errs, p.setLeasedMTU(l.MTU))
	}
	return append(errs, setRoutes(p.link.index, netlink.FAMILY_V4, unix.RTPROT_DHCP, routesOf(p.link.index, l, p.conf))...)
}

// minMTU6 is what IPv6 needs: below, the kernel takes IPv6 from the interface.
const minMTU6 = 1280

// setLeasedMTU sets the MTU that the server gave, or keeps the one of before.
func (p *port) setLeasedMTU(mtu int) error {
	nl, err := netlink.LinkByIndex(p.link.index)
	if err != nil {
		return fmt.Errorf("find interface %d: %w", p.link.index, err)
	}
	want := mtu
	if p.hasIPv6() {
		want = max(mtu, minMTU6)
	}
	have := nl.Attrs().MTU
	if have != want {
		if err := netlink.LinkSetMTU(nl, want); err != nil {
			return fmt.Errorf("the MTU stays at %d: the DHCP server says %d, but the interface does not take it: %w", have, mtu, err)
		}
	}
	if want != mtu {
		return fmt.Errorf("the MTU is %d: the DHCP server says %d, with which there would be no IPv6", want, mtu)
	}
	return nil
}

// hasIPv6 reports whether the interface can have IPv6 addresses.
func (p *port) hasIPv6() bool {
	text, err := os.ReadFile(p.sysctl6("disable_ipv6"))
	return err == nil && strings.TrimSpace(string(text)) == "0"
}

// Drop implements dhcp.Outside.
func (o outside4) Drop(l *dhcp.Lease) {
	p := o.port
	p.logErrors(removeLease(p.link.index, l, p.conf.Addresses))
	p.remember(func(r *record) { r.Lease = nil })
	p.restoreStatic()
	p.offer(byDHCP4, learned{})
	p.routeBySource(nil)
	p.service.vacate()
}

// routeBySource makes packets from the interface's IPv4 addresses leave through it: the
// leased one, if there is a lease, and those of the file.
func (p *port) routeBySource(l *dhcp.Lease) {
	c := card{index: p.link.index, name: p.link.name}
	static := p.static()
	routes := static.routesOf(netlink.FAMILY_V4)
	for _, a := range static.addresses {
		if a.Addr().Is4() {
			c.addresses = append(c.addresses, a)
		}
	}
	if l != nil {
		c.addresses = append(c.addresses, l.Address)
		routes = append(routes, routesOf(p.link.index, l, &netconf.Interface{Metric: p.conf.Metric})...)
	}
	if p.conf.SourceRouting {
		c.gateway = gatewayOf(routes)
	}
	p.service.sources.set(c)
}

// gatewayOf returns the gateway of the default route with the lowest metric.
func gatewayOf(routes []netlink.Route) (gateway netip.Addr) {
	best := 0
	for _, r := range routes {
		bits, _ := r.Dst.Mask.Size()
		via, ok := netip.AddrFromSlice(r.Gw)
		if ok && bits == 0 && (!gateway.IsValid() || r.Priority < best) {
			gateway, best = via, r.Priority
		}
	}
	return gateway
}
