package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kios/pods/network/dhcp"
	"kios/pods/network/netconf"
)

const (
	// protocol marks addresses (IFA_PROTO) and routes (rtm_protocol) of the
	// file. The number is free in iproute2's rt_protos.
	protocol = 75

	// staticMetric is for routes of the file that have none of their own, plus
	// the interface's index. It is below those of DHCP and of router
	// advertisements (1024). Indices begin again at staticMetrics, which a node
	// reaches after some hundreds of pods.
	staticMetric  = 512
	staticMetrics = 512

	ifaProto = 11 // IFA_PROTO of linux/if_addr.h, since Linux 5.18
)

// static is what an interface has from the file.
type static struct {
	index     int
	addresses []netip.Prefix
	routes    []netconf.Route
}

// String says so in one line, for the log.
func (s static) String() string {
	var parts []string
	for _, p := range s.addresses {
		parts = append(parts, p.String())
	}
	for _, r := range s.routes {
		parts = append(parts, dhcp.Route{To: r.To, Via: r.Via}.String())
	}
	return strings.Join(parts, ", ")
}

// apply makes addresses and routes those of the file, without touching any that
// are there already. It goes on after an error.
func (s static) apply() []error {
	errs := s.removeAddresses()
	for _, p := range s.addresses {
		// Also those that are there: removing a first address of a subnet can
		// have removed the others.
		if err := addAddress(s.index, p); err != nil {
			errs = append(errs, fmt.Errorf("add address %s: %w", p, err))
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		errs = append(errs, setRoutes(s.index, family, protocol, s.routesOf(family))...)
	}
	return errs
}

func (s static) removeAddresses() []error {
	have, err := ownAddresses()
	if err != nil {
		return []error{fmt.Errorf("list addresses: %w", err)}
	}
	var errs []error
	for _, p := range have[s.index] {
		if slices.Contains(s.addresses, p) {
			continue
		}
		if err := removeAddress(s.index, p); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func removeAddress(index int, p netip.Prefix) error {
	err := netlink.AddrDel(nil, &netlink.Addr{IPNet: ipNet(p), LinkIndex: index})
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil // the kernel was first
	}
	if err != nil {
		return fmt.Errorf("remove address %s: %w", p, err)
	}
	return nil
}

// addAddress adds an address, or marks one that is there as ours and without an
// end. Duplicates are not looked for, as they are not with IPv4: an address that
// the user wrote down must be usable at once, also without a carrier.
func addAddress(index int, p netip.Prefix) error {
	flags := 0
	if p.Addr().Is6() {
		flags = unix.IFA_F_NODAD
	}
	req := newAddress(index, p, flags)
	req.AddData(nl.NewRtAttr(ifaProto, []byte{protocol}))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// newAddress is the beginning of a request to add an address, or to change one that is
// there.
func newAddress(index int, p netip.Prefix, flags int) *nl.NetlinkRequest {
	family := unix.AF_INET
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	msg := nl.NewIfAddrmsg(family)
	msg.Index, msg.Prefixlen, msg.IfAddrmsg.Flags = uint32(index), uint8(p.Bits()), uint8(flags)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, p.Addr().AsSlice()))
	if p.Addr().Is4() && p.Bits() < 31 {
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast(p).AsSlice()))
	}
	return req
}

func broadcast(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}

// ownAddresses returns the addresses that have our mark, by interface.
func ownAddresses() (map[int][]netip.Prefix, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	own := map[int][]netip.Prefix{}
	for _, m := range messages {
		msg := nl.DeserializeIfAddrmsg(m)
		if p, ok := ownAddress(m[msg.Len():], int(msg.Prefixlen)); ok {
			own[int(msg.Index)] = append(own[int(msg.Index)], p)
		}
	}
	return own, nil
}

func ownAddress(raw []byte, length int) (netip.Prefix, bool) {
	attrs, err := nl.ParseRouteAttr(raw)
	if err != nil {
		return netip.Prefix{}, false
	}
	var addr netip.Addr
	var own bool
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(a.Value)
		case ifaProto:
			own = len(a.Value) == 1 && a.Value[0] == protocol
		}
	}
	return netip.PrefixFrom(addr, length), own && addr.IsValid()
}

// marked returns the interfaces that have addresses or routes of the file.
func marked() (map[int]bool, error) {
	addresses, err := ownAddresses()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	found := map[int]bool{}
	for index := range addresses {
		found[index] = true
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: protocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		found[r.LinkIndex] = true
	}
	return found, nil
}

// routesOf returns the routes of one family.
func (s static) routesOf(family int) []netlink.Route {
	var routes []netlink.Route
	for _, r := range s.routes {
		if r.To.Addr().Is4() != (family == netlink.FAMILY_V4) {
			continue
		}
		metric := r.Metric
		if metric == 0 {
			metric = staticMetric + s.index%staticMetrics
		}
		base := netlink.Route{LinkIndex: s.index, Priority: metric, Protocol: protocol}
		routes = append(routes, routeTo(base, r.To, r.Via, s.reaches(r.Via)))
	}
	return routes
}

// reaches reports whether the kernel finds the gateway on this interface by
// itself. If not, it is told so: a route of this interface has its gateway
// there.
func (s static) reaches(gateway netip.Addr) bool {
	return gateway.IsLinkLocalUnicast() && gateway.Is6() ||
		slices.ContainsFunc(s.addresses, func(p netip.Prefix) bool { return p.Masked().Contains(gateway) })
}
