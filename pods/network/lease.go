package network

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kios/pods/network/dhcp"
	"kios/pods/network/dhcp6"
	"kios/pods/network/lease"
	"kios/pods/network/netconf"
)

// baseMetric leaves room below for routes of the file and for those that a user
// sets by hand; what is added to it is the interface's index, so that the first
// one is preferred.
const baseMetric = 1024

// applyLease gives the interface the lease's address. old, which may be nil, is
// what it replaces; replaced says why its address may still be there.
func applyLease(index int, l, old *dhcp.Lease, metric int, now time.Duration) (replaced, err error) {
	if old != nil && old.Address != l.Address {
		// First, because removing an address can remove others of its subnet.
		replaced = removeAddress(index, old.Address)
	}
	if err := addLeased(index, l, metric, now); err != nil {
		return replaced, fmt.Errorf("add address %s: %w", l.Address, err)
	}
	return replaced, nil
}

// addLeased adds the address, or gives one that is there more time. The route to its
// subnet gets the metric of the lease's routes (IFA_RT_PRIORITY): of two cards in one
// subnet, the kernel is to prefer the same one for the subnet as for the default route.
func addLeased(index int, l *dhcp.Lease, metric int, now time.Duration) error {
	a := leased(index, l.Address, l.Expiry, l.Expiry, now)
	info := nl.IfaCacheInfo{IfaCacheinfo: unix.IfaCacheinfo{Valid: math.MaxUint32, Prefered: math.MaxUint32}}
	if a.ValidLft > 0 {
		info.Valid, info.Prefered = uint32(a.ValidLft), uint32(a.PreferedLft)
	}
	req := newAddress(index, l.Address, 0)
	req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, info.Serialize()))
	req.AddData(nl.NewRtAttr(unix.IFA_RT_PRIORITY, nl.Uint32Attr(uint32(metric))))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// metricOf returns the metric of the routes of a lease.
func metricOf(index int, conf *netconf.Interface) int {
	if conf.Metric != 0 {
		return conf.Metric
	}
	return baseMetric + index
}

// leased returns the address with the time that is left of the lease: the
// kernel removes it then if nobody renewed it.
func leased(index int, p netip.Prefix, preferred, valid, now time.Duration) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p), LinkIndex: index}
	if valid != lease.Forever {
		// Rounded up: with two zeros it would be there for ever.
		a.ValidLft = int((valid - now + time.Second - 1) / time.Second)
		a.PreferedLft = min(a.ValidLft, int((max(0, preferred-now)+time.Second-1)/time.Second))
	}
	return a
}

// routesOf returns the routes of a lease. Clouds give a /32 and a gateway outside
// of it. A gateway that is the leased address itself says that the destination is
// on the link, as providers had it once (dhcpcd takes it so, too).
func routesOf(index int, l *dhcp.Lease, conf *netconf.Interface) []netlink.Route {
	base := netlink.Route{
		LinkIndex: index,
		Src:       l.Address.Addr().AsSlice(),
		Priority:  metricOf(index, conf),
		Protocol:  unix.RTPROT_DHCP,
	}
	var routes []netlink.Route
	for _, r := range l.Routes {
		if !conf.Takes(netconf.Routes) || r.To.Bits() == 0 && !conf.Takes(netconf.DefaultRoute) {
			continue
		}
		if r.Via == l.Address.Addr() {
			r.Via = netip.Addr{}
		}
		routes = append(routes, routeTo(base, r.To, r.Via, l.Address.Masked().Contains(r.Via)))
	}
	return routes
}

// applyLease6 gives the interface the addresses of a DHCPv6 lease, and says which it
// does not take. Only if it takes none, err says why.
func applyLease6(index int, l, old *dhcp6.Lease, now time.Duration) (refused []error, err error) {
	errs := []error{removeLease6(index, old, l, nil)}
	failed := 0
	for _, a := range l.Addresses {
		p := netip.PrefixFrom(a.Addr, 128)
		if err := netlink.AddrReplace(nil, leased(index, p, a.Preferred, a.Valid, now)); err != nil {
			errs = append(errs, fmt.Errorf("add address %s: %w", p, err))
			failed++
		}
	}
	if failed > 0 && failed == len(l.Addresses) {
		return nil, errors.Join(errs...)
	}
	return errs, nil
}

// removeLease6 removes the addresses of a lease that neither another one, which
// may be nil, nor keep has.
func removeLease6(index int, l, other *dhcp6.Lease, keep []netip.Prefix) error {
	if l == nil {
		return nil
	}
	for _, a := range l.Addresses {
		same := func(o dhcp6.Address) bool { return o.Addr == a.Addr }
		p := netip.PrefixFrom(a.Addr, 128)
		if other != nil && slices.ContainsFunc(other.Addresses, same) || slices.Contains(keep, p) {
			continue
		}
		if err := removeAddress(index, p); err != nil {
			return err
		}
	}
	return nil
}

// removeLease takes the lease's address, unless keep has it, and its routes from
// the interface. The kernel, too, removes routes whose source is gone.
func removeLease(index int, l *dhcp.Lease, keep []netip.Prefix) error {
	if l == nil {
		return nil
	}
	var errs []error
	if !slices.Contains(keep, l.Address) {
		errs = append(errs, removeAddress(index, l.Address))
	}
	return errors.Join(append(errs, setRoutes(index, netlink.FAMILY_V4, unix.RTPROT_DHCP, nil)...)...)
}
