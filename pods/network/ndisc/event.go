package ndisc

import (
	"net/netip"
	"time"
)

// Event is all that is known about one interface. Instants are those of
// [kios/internal/boottime.Now], and [lease.Forever] means never.
type Event struct {
	Index   int      // of the interface
	Managed bool     // flag M: addresses, and the rest, by DHCPv6
	Other   bool     // flag O: DHCPv6 for what is not an address
	DNS     []Server // in the order in which they were first seen
	Search  []Domain // likewise
}

// Server is a recursive name server. A link-local address has the interface's
// name as its zone.
type Server struct {
	Addr   netip.Addr
	Expiry time.Duration
}

// Domain is a domain to search, without a final dot. It holds nothing but
// letters, digits, hyphens, underscores and dots.
type Domain struct {
	Name   string
	Expiry time.Duration
}
