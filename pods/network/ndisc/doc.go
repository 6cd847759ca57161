// Package ndisc reports the part of IPv6 router advertisements that the kernel
// leaves to programs, for each interface: the servers and domains for DNS (RFC
// 8106), and whether there is DHCPv6 (the flags M and O of RFC 4861).
//
// Addresses, routes and the MTU are the kernel's. It also decides which
// advertisements count: those on an interface whose sysctl accept_ra allows
// them (2 on a machine that forwards packets). The package listens to what the
// kernel passes on through rtnetlink(7), and reads no packets itself.
//
// The kernel passes the options for DNS on once, as they arrive. A program that
// starts later, or loses a message, has to make the routers repeat them: it sends
// router solicitations for that. On an interface that comes up the kernel
// solicits by itself, as soon as it has a link-local address; on one whose
// carrier returns it does not, and this package does.
//
// It leaves out: captive portals, NAT64 prefixes and the like, and a list for
// each router; a server that two routers name is one server, with the expiry
// that was advertised last.
package ndisc
