package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"kios/internal/identity"
	"kios/pods/network/dnsname"
	"kios/pods/network/hostaddr"
	"kios/pods/network/lease"
)

const infiniteSeconds = math.MaxUint32 // RFC 2131, section 3.3

// Lease is what a server granted. It is kept as JSON over restarts of the
// program.
type Lease struct {
	Address netip.Prefix // with the length of the subnet
	Server  netip.Addr
	Routes  []Route
	DNS     []netip.Addr
	Search  []string // domains, in the order of search
	NTP     []netip.Addr
	MTU     int // 0: the server named none
	// Hostname is the name that the server has for the machine, in lower case,
	// with or without a domain; "" if it has none. It is often the one that the
	// client sent.
	Hostname string

	lease.Times
}

// String returns the lease's address, for messages.
func (l *Lease) String() string { return l.Address.String() }

// Route is a route that came with a lease.
type Route struct {
	To  netip.Prefix
	Via netip.Addr // not valid: To is directly on the link
}

// String returns "TO via GATEWAY", or "TO on the link".
func (r Route) String() string {
	to := r.To.String()
	if r.To.Bits() == 0 {
		to = "default"
	}
	if !r.Via.IsValid() {
		return to + " on the link"
	}
	return to + " via " + r.Via.String()
}

// describe says in one line what the lease brings.
func (l *Lease) describe(now time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s from %s for %s", l, l.Server, l.Length(now))
	for _, r := range l.Routes {
		fmt.Fprintf(&b, ", %s", r)
	}
	if len(l.DNS) > 0 {
		fmt.Fprintf(&b, ", DNS %s", strings.Join(hostaddr.Strings(l.DNS), " "))
	}
	if len(l.Search) > 0 {
		fmt.Fprintf(&b, ", search %s", strings.Join(l.Search, " "))
	}
	if l.MTU > 0 {
		fmt.Fprintf(&b, ", MTU %d", l.MTU)
	}
	return b.String()
}

// leaseFrom reads the lease out of an offer or an acknowledgement. The error
// says what makes it unusable: such an answer is to be ignored, because a
// second server, or the same one a moment later, may do better.
func leaseFrom(p *dhcpv4.DHCPv4, now time.Duration) (*Lease, error) {
	address, err := addressOf(p)
	if err != nil {
		return nil, err
	}
	server, ok := hostaddr.FromIPv4(p.ServerIdentifier())
	if !ok {
		return nil, errors.New("it has no server identifier")
	}
	l := &Lease{Address: address, Server: server}
	if err := l.setTimes(p, now); err != nil {
		return nil, err
	}
	if l.Routes, err = routesOf(p); err != nil {
		return nil, err
	}
	l.DNS = hostAddrs(p.DNS())
	l.Search = searchOf(p)
	l.NTP = hostAddrs(p.NTPServers())
	l.MTU = mtuOf(p)
	l.Hostname = hostnameOf(p)
	return l, nil
}

func addressOf(p *dhcpv4.DHCPv4) (netip.Prefix, error) {
	addr, ok := hostaddr.FromIPv4(p.YourIPAddr)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("%s is no address for a host", p.YourIPAddr)
	}
	raw := p.Options.Get(dhcpv4.OptionSubnetMask)
	if raw == nil {
		return netip.Prefix{}, errors.New("it has no subnet mask")
	}
	ones, bits := net.IPMask(raw).Size()
	if bits != 32 || ones == 0 {
		return netip.Prefix{}, fmt.Errorf("its subnet mask %x is not a mask", raw)
	}
	prefix := netip.PrefixFrom(addr, ones)
	if hostaddr.IsEdge(prefix) {
		return netip.Prefix{}, fmt.Errorf("%s is the subnet's own address or its broadcast address", prefix)
	}
	return prefix, nil
}

// setTimes sets the lease's three instants. T1 and T2 from the server count
// only if they are in order; RFC 2131, section 4.4.5, has the defaults.
func (l *Lease) setTimes(p *dhcpv4.DHCPv4, now time.Duration) error {
	length, ok := seconds(p, dhcpv4.OptionIPAddressLeaseTime)
	if !ok || length == 0 {
		return errors.New("it has no lease time, or a malformed one")
	}
	if length == infiniteSeconds*time.Second {
		l.Times = lease.Times{Renew: lease.Forever, Rebind: lease.Forever, Expiry: lease.Forever}
		return nil
	}
	t1, ok1 := seconds(p, dhcpv4.OptionRenewTimeValue)
	t2, ok2 := seconds(p, dhcpv4.OptionRebindingTimeValue)
	if !ok2 || t2 == 0 || t2 >= length {
		t2 = length / 8 * 7
	}
	if !ok1 || t1 == 0 || t1 >= t2 {
		t1 = length / 2
	}
	if t1 >= t2 { // T1 is the default, T2 is not
		t1 = t2 / 2
	}
	l.Times = lease.Times{Renew: now + t1, Rebind: now + t2, Expiry: now + length}
	return nil
}

func seconds(p *dhcpv4.DHCPv4, code dhcpv4.OptionCode) (time.Duration, bool) {
	raw := p.Options.Get(code)
	if len(raw) != 4 {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint32(raw)) * time.Second, true
}

// routesOf returns the classless routes, or, only if there are none (RFC 3442
// is strict about that), the default route through the first router.
func routesOf(p *dhcpv4.DHCPv4) ([]Route, error) {
	if raw := p.Options.Get(dhcpv4.OptionClasslessStaticRoute); raw != nil {
		return classlessRoutes(raw)
	}
	routers := hostAddrs(p.Router())
	if len(routers) == 0 {
		return nil, nil
	}
	return []Route{{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: routers[0]}}, nil
}

func classlessRoutes(raw []byte) ([]Route, error) {
	var parsed dhcpv4.Routes
	if err := parsed.FromBytes(raw); err != nil {
		return nil, fmt.Errorf("its classless routes are malformed: %w", err)
	}
	var routes []Route
	for _, r := range parsed {
		dest, _ := netip.AddrFromSlice(r.Dest.IP.To4())
		ones, _ := r.Dest.Mask.Size()
		via, _ := netip.AddrFromSlice(r.Router.To4())
		if via.IsUnspecified() {
			via = netip.Addr{} // RFC 3442: 0.0.0.0 means on the link
		}
		routes = append(routes, Route{To: netip.PrefixFrom(dest, ones).Masked(), Via: via})
	}
	return routes, nil
}

// searchOf returns the domains to search: option 119, else option 15, without
// anything that is not a domain name. What remains is safe to be written into
// a file of lines and words.
func searchOf(p *dhcpv4.DHCPv4) []string {
	var names []string
	if labels := p.DomainSearch(); labels != nil {
		names = labels.Labels
	}
	if len(names) == 0 {
		// Some servers put several names into option 15.
		names = strings.Fields(strings.TrimRight(p.DomainName(), "\x00"))
	}
	return dnsname.Filter(names)
}

// hostnameOf returns the machine's name: option 12, else the client FQDN of
// option 81, else "".
func hostnameOf(p *dhcpv4.DHCPv4) string {
	for _, name := range []string{p.HostName(), fqdnOf(p.Options.Get(dhcpv4.OptionFQDN))} {
		name, err := identity.ParseHostname(strings.TrimSuffix(strings.TrimRight(name, "\x00"), "."))
		if err == nil && name != "localhost" && !strings.HasPrefix(name, "localhost.") {
			return name
		}
	}
	return ""
}

// fqdnOf returns the name in option 81 (RFC 4702), in its text form or in the
// form of RFC 1035, which the flag E tells.
func fqdnOf(raw []byte) string {
	const encoded = 0x04
	if len(raw) < 3 {
		return ""
	}
	flags, name := raw[0], raw[3:]
	if flags&encoded == 0 {
		return string(name)
	}
	decoded, _, err := dnsname.Decode(name)
	if err != nil && !errors.Is(err, dnsname.ErrNoEnd) {
		return ""
	}
	return decoded
}

// mtuOf returns the MTU, or 0 if it is absent or below what each IPv4 host
// must be able to receive (RFC 791): smaller ones are mistakes or worse.
func mtuOf(p *dhcpv4.DHCPv4) int {
	mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, p.Options)
	if err != nil || mtu < 576 {
		return 0
	}
	return int(mtu)
}

func hostAddrs(ips []net.IP) []netip.Addr {
	var addrs []netip.Addr
	for _, ip := range ips {
		if a, ok := hostaddr.FromIPv4(ip); ok {
			addrs = append(addrs, a)
		}
	}
	return addrs
}
