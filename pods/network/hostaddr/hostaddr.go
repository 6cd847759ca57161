// Package hostaddr tells which IP addresses a host can have. DHCP servers,
// routers and users name addresses; one that no host can have is a mistake, or
// worse.
package hostaddr

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
)

// everyone is the limited broadcast address (RFC 919).
var everyone = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Valid reports whether a host can have the address. An IPv4 address must not be
// in 0.0.0.0/8, 127.0.0.0/8 or 224.0.0.0/4, nor be 255.255.255.255. The rest of
// 240.0.0.0/4 is reserved, but the kernel takes it and clouds give it to machines.
// An IPv6 address must not be ::, ::1, a multicast address or an IPv4 address in
// disguise.
func Valid(a netip.Addr) bool {
	if a.Is4() {
		first := a.As4()[0]
		return first != 0 && first != 127 && !a.IsMulticast() && a != everyone
	}
	return a.Is6() && !a.Is4In6() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast()
}

// FromIPv4 returns ip, and whether it is an IPv4 address that a host can have.
func FromIPv4(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip.To4())
	return a, ok && Valid(a)
}

// FromIPv6 returns ip, and whether it is an IPv6 address that a host can have.
func FromIPv6(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a, ok && a.Is6() && Valid(a)
}

// IsEdge reports whether p, an IPv4 address with the length of its subnet, is the
// subnet's own address or its broadcast address: the host part is all zeros or
// all ones. Subnets of one or two addresses have neither, nor has IPv6.
func IsEdge(p netip.Prefix) bool {
	if !p.Addr().Is4() || p.Bits() >= 31 {
		return false
	}
	a := p.Addr().As4()
	host := binary.BigEndian.Uint32(a[:]) << p.Bits()
	return host == 0 || host == math.MaxUint32<<p.Bits()
}

// OnLink returns the address with the zone if it is a link-local one, which
// means nothing without the interface that it is valid on.
func OnLink(a netip.Addr, zone string) netip.Addr {
	if a.IsLinkLocalUnicast() && a.Is6() {
		return a.WithZone(zone)
	}
	return a
}

// Strings returns the addresses as text.
func Strings(addrs []netip.Addr) []string {
	var list []string
	for _, a := range addrs {
		list = append(list, a.String())
	}
	return list
}
