package dhcp6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"kios/pods/network/dnsname"
	"kios/pods/network/hostaddr"
	"kios/pods/network/lease"
)

const (
	infinite = math.MaxUint32 * time.Second // RFC 8415, section 7.7

	maxAddresses = 8 // more than any server gives, and less than it takes to hurt

	refreshDefault = 24 * time.Hour   // IRT_DEFAULT
	refreshMinimum = 10 * time.Minute // IRT_MINIMUM
)

// Lease is what a server granted, or only told if Addresses is empty (stateless
// DHCPv6). It is kept as JSON over restarts of the program.
type Lease struct {
	Addresses []Address
	Server    []byte       // its DUID
	DNS       []netip.Addr // a link-local address has the interface's name as its zone
	Search    []string     // domains, in the order of search
	NTP       []netip.Addr // as DNS

	lease.Times // without addresses, Renew is when to ask for news
}

// Address is an address of a lease. It belongs on the interface as a /128:
// which addresses are on the link is for routers to say, not for DHCPv6.
type Address struct {
	Addr      netip.Addr
	Preferred time.Duration // until then for new connections
	Valid     time.Duration // until then at all
}

// String lists the lease's addresses, for messages.
func (l *Lease) String() string {
	if len(l.Addresses) == 0 {
		return "the answer without addresses"
	}
	return strings.Join(hostaddr.Strings(l.addrs()), " ")
}

func (l *Lease) addrs() []netip.Addr {
	var addrs []netip.Addr
	for _, a := range l.Addresses {
		addrs = append(addrs, a.Addr)
	}
	return addrs
}

// brings reports whether both leases bring the same, whatever their times.
func (l *Lease) brings(o *Lease) bool {
	return slices.Equal(l.addrs(), o.addrs()) && slices.Equal(l.DNS, o.DNS) &&
		slices.Equal(l.Search, o.Search) && slices.Equal(l.NTP, o.NTP)
}

func (l *Lease) describe(now time.Duration) string {
	var b strings.Builder
	if len(l.Addresses) > 0 {
		fmt.Fprintf(&b, "%s for %s", l, l.Length(now))
	} else {
		b.WriteString("a server answered")
	}
	if len(l.DNS) > 0 {
		fmt.Fprintf(&b, ", DNS %s", strings.Join(hostaddr.Strings(l.DNS), " "))
	}
	if len(l.Search) > 0 {
		fmt.Fprintf(&b, ", search %s", strings.Join(l.Search, " "))
	}
	if len(l.NTP) > 0 {
		fmt.Fprintf(&b, ", NTP %s", strings.Join(hostaddr.Strings(l.NTP), " "))
	}
	return b.String()
}

// Errors that decide what the client does next.
var (
	errNoAddress = errors.New("it grants no address")
	errNoBinding = errors.New("the server does not know the lease")
)

// grant is what a message says about the client's addresses.
type grant struct {
	*Lease
	withdrawn []netip.Addr // not to be used any more
}

// grantFrom reads the lease out of an ADVERTISE or a REPLY. The error says what
// makes it unusable.
func grantFrom(p *dhcpv6.Message, iaid [4]byte, zone string, now time.Duration) (grant, error) {
	if err := statusOf(p.Options.Options); err != nil {
		return grant{}, err
	}
	ia := associationOf(p, iaid)
	if ia == nil {
		return grant{}, errNoAddress
	}
	if err := statusOf(ia.Options.Options); err != nil {
		return grant{}, err
	}
	if ia.T1 > ia.T2 && ia.T2 > 0 {
		return grant{}, fmt.Errorf("its T1, %s, is after its T2, %s", ia.T1, ia.T2)
	}
	g := grant{Lease: informationFrom(p, zone)}
	for _, o := range ia.Options.Addresses() {
		g.add(o, now)
	}
	if len(g.Addresses)+len(g.withdrawn) == 0 {
		return grant{}, errNoAddress
	}
	g.setTimes(ia.T1, ia.T2, now)
	return g, nil
}

// statusOf returns the error that a status code stands for.
func statusOf(options dhcpv6.Options) error {
	o, ok := options.GetOne(dhcpv6.OptionStatusCode).(*dhcpv6.OptStatusCode)
	if !ok || o.StatusCode == iana.StatusSuccess {
		return nil
	}
	text := o.StatusCode.String()
	if o.StatusMessage != "" {
		text += fmt.Sprintf(" (%q)", o.StatusMessage)
	}
	switch o.StatusCode {
	case iana.StatusNoBinding:
		return errNoBinding
	case iana.StatusNoAddrsAvail:
		return fmt.Errorf("%w: %s", errNoAddress, text)
	}
	return fmt.Errorf("it says %s", text)
}

func associationOf(p *dhcpv6.Message, iaid [4]byte) *dhcpv6.OptIANA {
	for _, ia := range p.Options.IANA() {
		if ia.IaId == iaid {
			return ia
		}
	}
	return nil
}

func (g *grant) add(o *dhcpv6.OptIAAddress, now time.Duration) {
	addr, ok := hostaddr.FromIPv6(o.IPv6Addr)
	if !ok || addr.IsLinkLocalUnicast() || o.PreferredLifetime > o.ValidLifetime || statusOf(o.Options.Options) != nil {
		return
	}
	if o.ValidLifetime == 0 {
		g.withdrawn = append(g.withdrawn, addr)
	} else if len(g.Addresses) < maxAddresses {
		g.Addresses = append(g.Addresses, Address{addr, after(now, o.PreferredLifetime), after(now, o.ValidLifetime)})
	}
}

// after returns the instant that is d later.
func after(now, d time.Duration) time.Duration {
	if d == infinite {
		return lease.Forever
	}
	return now + d
}

// setTimes sets the lease's three instants. T1 and T2 of 0 leave them to the
// client (RFC 8415, section 21.4, has the fractions), and so do those that come
// too late to be of use.
func (l *Lease) setTimes(t1, t2, now time.Duration) {
	shortest := lease.Forever // time that one of the addresses is preferred
	l.Expiry = 0
	for _, a := range l.Addresses {
		l.Expiry = max(l.Expiry, a.Valid)
		end := a.Preferred
		if end <= now { // deprecated from the start
			end = a.Valid
		}
		if end != lease.Forever {
			shortest = min(shortest, end-now)
		}
	}
	late := func(t time.Duration) bool { return t != infinite && l.Expiry != lease.Forever && now+t >= l.Expiry }
	if t1 == 0 || late(t1) {
		t1 = fraction(shortest, 5)
	}
	if t2 == 0 || late(t2) {
		t2 = fraction(shortest, 8)
	}
	l.Renew = after(now, max(min(t1, t2), time.Second))
	l.Rebind = after(now, max(t2, time.Second))
}

func fraction(d time.Duration, tenths int64) time.Duration {
	if d == lease.Forever {
		return infinite
	}
	return d / 10 * time.Duration(tenths)
}

// keep adds the addresses of before that the server did not mention: they are
// valid for as long as they were (RFC 8415, section 18.2.10.1).
func (g *grant) keep(old *Lease, now time.Duration) {
	for _, a := range old.Addresses {
		if a.Valid > now && !slices.Contains(g.addrs(), a.Addr) && !slices.Contains(g.withdrawn, a.Addr) {
			g.Addresses = append(g.Addresses, a)
			g.Expiry = max(g.Expiry, a.Valid)
		}
	}
}

// informationFrom reads what a message says besides addresses.
func informationFrom(p *dhcpv6.Message, zone string) *Lease {
	l := &Lease{Server: p.Options.ServerID().ToBytes(), DNS: hostAddrs(p.Options.DNS(), zone)}
	if list := p.Options.DomainSearchList(); list != nil {
		l.Search = dnsname.Filter(list.Labels)
	}
	l.NTP = hostAddrs(p.Options.NTPServers(), zone)
	if len(l.NTP) == 0 {
		l.NTP = hostAddrs(p.Options.SNTP(), zone) // the older option
	}
	return l
}

// answerFrom reads the REPLY to an INFORMATION-REQUEST.
func answerFrom(p *dhcpv6.Message, zone string, now time.Duration) (*Lease, error) {
	if err := statusOf(p.Options.Options); err != nil {
		return nil, err
	}
	l := informationFrom(p, zone)
	l.Renew = after(now, max(p.Options.InformationRefreshTime(refreshDefault), refreshMinimum))
	l.Rebind, l.Expiry = lease.Forever, lease.Forever
	return l, nil
}

// maxRT reads SOL_MAX_RT or INF_MAX_RT, how far retransmissions may slow down.
func maxRT(p *dhcpv6.Message, code dhcpv6.OptionCode) (time.Duration, bool) {
	o := p.Options.GetOne(code)
	if o == nil || len(o.ToBytes()) != 4 {
		return 0, false
	}
	d := time.Duration(binary.BigEndian.Uint32(o.ToBytes())) * time.Second
	return d, d >= time.Minute && d <= 24*time.Hour
}

func hostAddrs(ips []net.IP, zone string) []netip.Addr {
	var addrs []netip.Addr
	for _, ip := range ips {
		if a, ok := hostaddr.FromIPv6(ip); ok {
			addrs = append(addrs, hostaddr.OnLink(a, zone))
		}
	}
	return addrs
}
