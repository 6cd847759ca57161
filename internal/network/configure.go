package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kios/internal/dhcp"
)

// baseMetric leaves room below for routes that a user sets by hand; what is
// added to it is the interface's index, so that the first one is preferred.
const baseMetric = 1024

// apply gives the interface the lease's address, routes and MTU. old, which may
// be nil, is what it replaces.
func apply(index int, l, old *dhcp.Lease, now time.Duration) error {
	if old != nil && old.Address != l.Address {
		// First, because removing an address can remove others of its subnet.
		if err := remove(index, old); err != nil {
			return err
		}
	}
	nl, err := netlink.LinkByIndex(index)
	if err != nil {
		return fmt.Errorf("find interface %d: %w", index, err)
	}
	if l.MTU != 0 && nl.Attrs().MTU != l.MTU {
		if err := netlink.LinkSetMTU(nl, l.MTU); err != nil {
			return fmt.Errorf("set MTU %d: %w", l.MTU, err)
		}
	}
	if err := netlink.AddrReplace(nl, addrOf(l, now)); err != nil {
		return fmt.Errorf("add address %s: %w", l.Address, err)
	}
	return setRoutes(index, routesOf(index, l))
}

// remove takes the lease's address from the interface. The kernel then removes
// the routes that have it as their source, which are all of the lease's.
func remove(index int, l *dhcp.Lease) error {
	err := netlink.AddrDel(nil, &netlink.Addr{IPNet: ipNet(l.Address), LinkIndex: index})
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil // the kernel was first
	}
	if err != nil {
		return fmt.Errorf("remove address %s: %w", l.Address, err)
	}
	return nil
}

// addrOf returns the address with the time that is left of the lease: the
// kernel removes it then if nobody renewed it.
func addrOf(l *dhcp.Lease, now time.Duration) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(l.Address)}
	if left := l.Remaining(now); left != dhcp.Forever {
		// Rounded up: 0 would mean for ever.
		a.ValidLft = int((left + time.Second - 1) / time.Second)
		a.PreferedLft = a.ValidLft
	}
	return a
}

func routesOf(index int, l *dhcp.Lease) []netlink.Route {
	var onLink, via []netlink.Route
	for _, r := range l.Routes {
		route := netlink.Route{
			LinkIndex: index,
			Dst:       ipNet(r.To),
			Src:       l.Address.Addr().AsSlice(),
			Priority:  baseMetric + index,
			Protocol:  unix.RTPROT_DHCP,
			Scope:     netlink.SCOPE_LINK,
		}
		if !r.Via.IsValid() {
			onLink = append(onLink, route)
			continue
		}
		route.Scope = netlink.SCOPE_UNIVERSE
		route.Gw = r.Via.AsSlice()
		if !l.Address.Masked().Contains(r.Via) {
			// Clouds give a /32 and a gateway outside of it.
			route.Flags = int(netlink.FLAG_ONLINK)
		}
		via = append(via, route)
	}
	return append(onLink, via...)
}

// setRoutes makes want the DHCP routes of the interface.
func setRoutes(index int, want []netlink.Route) error {
	keep := map[string]bool{}
	for _, r := range want {
		if err := netlink.RouteReplace(&r); err != nil {
			return fmt.Errorf("add route to %s via %s: %w", r.Dst, r.Gw, err)
		}
		keep[routeKey(r)] = true
	}
	have, err := netlink.RouteListFiltered(netlink.FAMILY_V4,
		&netlink.Route{LinkIndex: index, Protocol: unix.RTPROT_DHCP},
		netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range have {
		if keep[routeKey(r)] {
			continue
		}
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route to %s via %s: %w", r.Dst, r.Gw, err)
		}
	}
	return nil
}

func routeKey(r netlink.Route) string {
	return fmt.Sprintf("%s %s %s %d", r.Dst, r.Gw, r.Src, r.Priority)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// acceptRA makes the kernel take IPv6 router advertisements on the interface
// even though the machine forwards packets. Only here, not as a default for all
// interfaces: a pod must not be able to give the node a route through itself.
func acceptRA(procSysNet, name string) error {
	path := filepath.Join(procSysNet, "ipv6/conf", name, "accept_ra")
	err := os.WriteFile(path, []byte("2"), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a kernel without IPv6
	}
	return err
}
