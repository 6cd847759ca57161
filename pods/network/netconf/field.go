package netconf

import (
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"

	"kios/pods/network/dnsname"
	"kios/pods/network/hostaddr"
)

func (k *checker) mac(field, s string) string {
	if s == "" {
		return ""
	}
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		k.bad(field, "%q is no Ethernet address; it looks like 52:54:00:12:34:56", s)
		return ""
	}
	return mac.String()
}

// mtu checks against what each IPv4 host must be able to receive (RFC 791).
func (k *checker) mtu(n int) int {
	if n != 0 && (n < 576 || n > 65535) {
		k.bad("mtu", "%d is not between 576 and 65535", n)
	}
	return n
}

func (k *checker) address(field, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil && isAddr(s) && !strings.Contains(s, "/"):
		k.bad(field, "%q has no prefix length; it looks like 192.0.2.10/24 or 2001:db8::10/64", s)
	case err != nil || p.Addr().Is4In6():
		k.bad(field, "%q is no address with a prefix length; it looks like 192.0.2.10/24 or 2001:db8::10/64", s)
	case !hostaddr.Valid(p.Addr()):
		k.bad(field, "%s is no address for a host", p.Addr())
	case p.Bits() == 0:
		k.bad(field, "%s has a prefix length of 0", s)
	case hostaddr.IsEdge(p):
		k.bad(field, "%s is the subnet's own address or its broadcast address", s)
	}
	return p
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func (k *checker) route(field, to, via string, metric int) Route {
	r := Route{Metric: k.metric(field+".metric", metric)}
	if via != "" {
		r.Via = k.gateway(field+".via", via)
	}
	if to != "default" {
		r.To = k.destination(field+".to", to)
		if r.To.IsValid() && r.Via.IsValid() && r.To.Addr().Is4() != r.Via.Is4() {
			k.bad(field+".via", "%s and %s are not of the same family", via, to)
		}
		return r
	}
	switch {
	case via == "":
		k.bad(field+".via", `it is missing: "default" needs a gateway (or write 0.0.0.0/0 or ::/0)`)
	case r.Via.Is4():
		r.To = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	case r.Via.Is6():
		r.To = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return r
}

// metric returns the metric of a route; 0 is none.
func (k *checker) metric(field string, n int) int {
	if n < 0 || n > math.MaxInt32 {
		k.bad(field, "%d is not between 1 and %d", n, math.MaxInt32)
	}
	return n
}

func (k *checker) ignore(list []string) (ignored []Part) {
	for n, s := range list {
		k.oneOf(at("ignore", n), s, parts)
		ignored = append(ignored, Part(s))
	}
	return ignored
}

func (k *checker) badName(key string) {
	k.bad("", "%q cannot be the name of an interface: at most 15 characters, without / : and blanks", key)
}

// virtual checks the entry of an interface that is made, and not found.
func (k *checker) virtual(id *Interface, e *entry) {
	if e.MAC != "" || e.Match != nil {
		k.bad("mac", "a VLAN or a bond is not found by its address, but made: remove this field")
		id.MAC, id.Match = "", nil
	}
	if id.Unmanaged {
		k.bad("manage", "a VLAN or a bond of this file is made here: remove the entry instead")
		id.Unmanaged = false
	}
}

// unmanaged checks an entry that says that the interface is somebody else's.
func (k *checker) unmanaged(i *Interface) {
	if i.Unmanaged && (i.hasOwn() || i.Metric != 0 || len(i.Ignore) > 0) {
		k.bad("manage", "with false, nothing else can be set")
	}
}

func (k *checker) gateway(field, s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" || !hostaddr.Valid(a) {
		k.bad(field, "%q is no address of a gateway", s)
		return netip.Addr{}
	}
	return a
}

func (k *checker) destination(field, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if a, hostErr := netip.ParseAddr(s); err != nil && hostErr == nil && a.Zone() == "" {
		p, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch {
	case s == "":
		k.bad(field, `it is missing: a subnet such as 10.0.0.0/8, or "default"`)
	case err != nil || p.Addr().Is4In6():
		k.bad(field, `%q is no subnet; it looks like 10.0.0.0/8, 2001:db8::/32 or "default"`, s)
	case p != p.Masked():
		k.bad(field, "%s has bits beyond its prefix length; the subnet is %s", s, p.Masked())
	}
	return p
}

// host is the address of a name server. Link-local ones need a zone to be of
// use, and the C library takes it.
func (k *checker) host(field, s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || a.Is4In6() || !a.IsLoopback() && !hostaddr.Valid(a) || !isName(a.Zone()) && a.Zone() != "":
		k.bad(field, "%q is no address of a server", s)
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		k.bad(field, "%s is valid on one link only; name that, as in %s%%eth0", s, s)
	}
	return a
}

func (k *checker) domain(field, s string) string {
	if !dnsname.Valid(s) {
		k.bad(field, "%q is no domain", s)
	}
	return strings.TrimSuffix(s, ".")
}

func (k *checker) server(field, s string) string {
	if !isAddr(s) && !dnsname.Valid(s) {
		k.bad(field, "%q is neither an address nor a name", s)
	}
	return strings.TrimSuffix(s, ".")
}

// together checks what depends on several fields.
func (k *checker) together(i *Interface) {
	for n, p := range i.Addresses {
		if slices.Contains(i.Addresses[:n], p) {
			k.bad(at("addresses", n), "%s is there twice", p)
		}
		if p.IsValid() && p.Addr().Is6() && i.MTU != 0 && i.MTU < 1280 {
			k.bad("mtu", "%d is too small for IPv6, which needs 1280", i.MTU)
		}
	}
	for n, r := range i.Routes {
		for _, other := range i.Routes[:n] {
			if r.To.IsValid() && r.To == other.To && r.Metric == other.Metric {
				k.bad(at("routes", n), "there are two routes to %s; give them different metrics", r.To)
			}
		}
		for _, p := range i.Addresses {
			if r.Via.IsValid() && r.Via == p.Addr() {
				k.bad(at("routes", n)+".via", "%s is the interface's own address", r.Via)
			}
		}
	}
}

// isName reports whether an interface can have the name (dev_valid_name of the
// kernel), and a line of text or a path can hold it.
func isName(s string) bool {
	if s == "" || len(s) > 15 || s == "." || s == ".." || s == "lo" {
		return false
	}
	for _, c := range s {
		if c <= ' ' || c > '~' || c == '/' || c == ':' {
			return false
		}
	}
	return true
}
