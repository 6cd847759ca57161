// Package ndisc tells what IPv6 routers advertise on each interface and what
// the kernel leaves to programs: the servers and domains for DNS (RFC 8106), and
// whether there is DHCPv6 (the flags M and O of RFC 4861).
//
// Addresses, routes and the MTU are the kernel's. It also decides which
// advertisements count: those on an interface whose sysctl accept_ra allows
// them (2 on a machine that forwards packets). The package listens to what the
// kernel passes on through rtnetlink(7), and reads no packets itself.
//
// The kernel passes the options for DNS on once, as they arrive. Whoever starts
// later, or loses a message, has to make the routers repeat them: that is what
// router solicitations are sent for. On an interface that comes up the kernel
// solicits by itself, as soon as it has a link-local address; on one whose
// carrier returns it does not, and this package does.
//
// It leaves out: captive portals, NAT64 prefixes and the like, and a list for
// each router; a server that two routers name is one server, with the expiry
// that was advertised last.
package ndisc
