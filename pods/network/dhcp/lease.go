package dhcp

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"kios/pods/network/hostaddr"
	"kios/pods/network/lease"
)

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
