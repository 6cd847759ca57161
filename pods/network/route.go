package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeTo returns a route through the interface of base. A gateway that the
// kernel does not find on the interface by itself is said to be there.
func routeTo(base netlink.Route, to netip.Prefix, via netip.Addr, reached bool) netlink.Route {
	r := base
	r.Dst, r.Scope = ipNet(to), netlink.SCOPE_LINK
	if !via.IsValid() {
		return r
	}
	r.Gw, r.Scope = via.AsSlice(), netlink.SCOPE_UNIVERSE
	if !reached {
		r.Flags = int(netlink.FLAG_ONLINK)
	}
	return r
}

// onLinkFirst returns the routes with those without a gateway first, because the
// way to a gateway may be among them.
func onLinkFirst(routes []netlink.Route) []netlink.Route {
	viaGateway := func(r netlink.Route) int { return min(len(r.Gw), 1) }
	return slices.SortedStableFunc(slices.Values(routes), func(a, b netlink.Route) int { return viaGateway(a) - viaGateway(b) })
}

// setRoutes makes want the routes of the interface that have the protocol. It
// goes on after an error.
func setRoutes(index, family, protocol int, want []netlink.Route) []error {
	var errs []error
	have, err := netlink.RouteListFiltered(family,
		&netlink.Route{LinkIndex: index, Protocol: netlink.RouteProtocol(protocol)},
		netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		errs = append(errs, fmt.Errorf("list routes: %w", err))
	}
	keep := map[string]bool{}
	for _, r := range onLinkFirst(want) {
		if err := setRoute(r, have); err != nil {
			errs = append(errs, fmt.Errorf("add route to %s via %s: %w", r.Dst, r.Gw, err))
		}
		keep[routeKey(r)] = true
	}
	for _, r := range have {
		if keep[routeKey(r)] {
			continue
		}
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route to %s via %s: %w", r.Dst, r.Gw, err))
		}
	}
	return errs
}

// setRoute adds a route, in place of the one in have that goes there with the same
// metric. It takes none away from another interface, as a replacement would.
func setRoute(r netlink.Route, have []netlink.Route) error {
	same := func(h netlink.Route) bool { return h.Dst.String() == r.Dst.String() && h.Priority == r.Priority }
	if slices.ContainsFunc(have, same) {
		return netlink.RouteReplace(&r)
	}
	err := netlink.RouteAdd(&r)
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("there is one with the metric %d already, of another interface or program; give one of them another metric", r.Priority)
	}
	return err
}

func routeKey(r netlink.Route) string {
	return fmt.Sprintf("%s %s %s %d", r.Dst, r.Gw, r.Src, r.Priority)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
