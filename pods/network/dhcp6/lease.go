package dhcp6

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math"
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

	maxAddresses = 8  // more than any server gives, and less than it takes to hurt
	maxServers   = 16 // likewise, of a kind

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
	faults    lease.Faults
}

// grantFrom reads the lease out of an ADVERTISE or a REPLY, and adds what stays of the
// lease of before, if there is one. The error says what makes it unusable.
func grantFrom(p answer, iaid [4]byte, zone string, old *Lease, now time.Duration) (grant, error) {
	if err := statusOf(p.options); err != nil {
		return grant{}, err
	}
	ia, ok := p.options.association(iaid)
	if !ok {
		return grant{}, errNoAddress
	}
	if err := statusOf(ia.options); err != nil {
		return grant{}, err
	}
	if ia.t1 > ia.t2 && ia.t2 > 0 {
		return grant{}, fmt.Errorf("its T1, %s, is after its T2, %s", ia.t1, ia.t2)
	}
	var g grant
	g.Lease, g.faults = informationFrom(p, zone)
	for a := range ia.options.addresses() {
		g.add(a, now)
	}
	if len(g.Addresses)+len(g.withdrawn) == 0 {
		return grant{}, errNoAddress
	}
	if g.keep(old, now) {
		// T1 and T2 are for what the message mentions: what it does not mention is to
		// be renewed even if that needs no renewal, or is withdrawn.
		ia.t1, ia.t2 = finite(ia.t1), finite(ia.t2)
	}
	g.setTimes(ia.t1, ia.t2, now)
	return g, nil
}

func finite(d time.Duration) time.Duration {
	if d == infinite {
		return 0
	}
	return d
}

// statusOf returns the error that a status code stands for.
func statusOf(o options) error {
	code, message := o.status()
	if code == iana.StatusSuccess {
		return nil
	}
	text := code.String()
	if message != "" {
		text += " (" + dnsname.Quote(message) + ")"
	}
	switch code {
	case iana.StatusNoBinding:
		return errNoBinding
	case iana.StatusNoAddrsAvail:
		return fmt.Errorf("%w: %s", errNoAddress, text)
	}
	return fmt.Errorf("it says %s", text)
}

func (g *grant) add(a iaAddress, now time.Duration) {
	usable := hostaddr.Valid(a.addr) && !a.addr.IsLinkLocalUnicast() && a.preferred <= a.valid && statusOf(a.options) == nil
	switch {
	case !usable || max(len(g.Addresses), len(g.withdrawn)) == maxAddresses:
	case a.valid == 0:
		g.withdrawn = append(g.withdrawn, a.addr)
	default:
		g.Addresses = append(g.Addresses, Address{a.addr, after(now, a.preferred), after(now, a.valid)})
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
// too late to be of use to one of the addresses.
func (l *Lease) setTimes(t1, t2, now time.Duration) {
	shortest := lease.Forever // time that one of the addresses is preferred
	first := lease.Forever    // end of one of them
	l.Expiry = 0
	for _, a := range l.Addresses {
		l.Expiry, first = max(l.Expiry, a.Valid), min(first, a.Valid)
		end := a.Preferred
		if end <= now { // deprecated from the start
			end = a.Valid
		}
		if end != lease.Forever {
			shortest = min(shortest, end-now)
		}
	}
	late := func(t time.Duration) bool { return t != infinite && first != lease.Forever && now+t >= first }
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
// valid for as long as they were (RFC 8415, section 18.2.10.1). A server that gives
// others each time does not make them more and more. It reports whether there are any.
func (g *grant) keep(old *Lease, now time.Duration) bool {
	if old == nil {
		return false
	}
	granted := len(g.Addresses)
	for _, a := range old.Addresses {
		if len(g.Addresses) == 2*maxAddresses {
			break
		}
		if a.Valid > now && !slices.Contains(g.addrs(), a.Addr) && !slices.Contains(g.withdrawn, a.Addr) {
			g.Addresses = append(g.Addresses, a)
		}
	}
	return len(g.Addresses) > granted
}

// informationFrom reads what a message says besides addresses, and what of that is
// of no use.
func informationFrom(p answer, zone string) (*Lease, lease.Faults) {
	r := &reader{options: p.options, zone: zone}
	if !p.options.whole() {
		r.faults.Add("its options are cut off")
	}
	server, _ := p.options.first(dhcpv6.OptionServerID)
	l := &Lease{
		Server: bytes.Clone(server),
		DNS:    r.servers("DNS", p.options.each(dhcpv6.OptionDNSRecursiveNameServer)),
		Search: r.search(),
		NTP:    r.servers("NTP", r.ntp()),
	}
	if len(l.NTP) == 0 {
		l.NTP = r.servers("SNTP", p.options.each(dhcpv6.OptionSNTPServerList)) // the older option
	}
	return l, r.faults
}

// reader reads what is not an address. A lease is used as far as it can be: faults
// are what cannot be.
type reader struct {
	options options
	zone    string
	faults  lease.Faults
}

// servers returns the addresses in options that hosts can have.
func (r *reader) servers(kind string, values iter.Seq[[]byte]) []netip.Addr {
	var addrs []netip.Addr
	size := 0
	for value := range values {
		size += len(value)
		for a := range slices.Chunk(value, 16) {
			if addr, ok := hostaddr.FromIPv6(a); ok && len(addrs) < maxServers {
				addrs = append(addrs, hostaddr.OnLink(addr, r.zone))
			}
		}
	}
	if left := size - 16*len(addrs); left > 0 {
		r.faults.Add("%d of %d bytes with %s servers are left out: they are no addresses of hosts, or too many", left, size, kind)
	}
	return addrs
}

// ntp returns the addresses of time servers: each is an option within one (RFC
// 5908). Names are left out.
func (r *reader) ntp() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for value := range r.options.each(dhcpv6.OptionNTPServer) {
			for addr := range options(value).each(dhcpv6.NTPSuboptionSrvAddrCode) {
				if !yield(addr) {
					return
				}
			}
		}
	}
}

// search returns the domains to search. What remains is safe to be written into a
// file of lines and words.
func (r *reader) search() []string {
	raw, _ := r.options.first(dhcpv6.OptionDomainSearchList)
	names, err := dnsname.List(raw)
	if err != nil {
		r.faults.Add("its search list is read up to a mistake: %v", err)
	}
	valid := dnsname.Filter(names)
	if left := len(names) - len(valid); left > 0 {
		r.faults.Add("%d of its domains are left out: they are none", left)
	}
	return valid
}

// answerFrom reads the REPLY to an INFORMATION-REQUEST.
func answerFrom(p answer, zone string, now time.Duration) (*Lease, lease.Faults, error) {
	if err := statusOf(p.options); err != nil {
		return nil, nil, err
	}
	l, faults := informationFrom(p, zone)
	refresh, ok := p.options.seconds(dhcpv6.OptionInformationRefreshTime)
	if !ok {
		refresh = refreshDefault
	}
	l.Renew = after(now, max(refresh, refreshMinimum))
	l.Rebind, l.Expiry = lease.Forever, lease.Forever
	return l, faults, nil
}

// maxRT reads SOL_MAX_RT or INF_MAX_RT, how far retransmissions may slow down.
func maxRT(o options, code dhcpv6.OptionCode) (time.Duration, bool) {
	d, ok := o.seconds(code)
	return d, ok && d >= time.Minute && d <= 24*time.Hour
}
