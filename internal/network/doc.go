// Package network is the service of the pod "network": it brings up each
// physical Ethernet interface, those that appear later included, gives it an
// address by DHCPv4 and writes /etc/resolv.conf.
//
// What it sets outlives it. It takes nothing back when it ends, and finds its
// leases again in files when it starts, so that a restart of the pod costs
// nobody a connection. Should it never return, the kernel removes each address,
// and with it the routes, at the end of its lease.
//
// IPv6 is the kernel's own (router advertisements). Virtual interfaces, and
// those that belong to a bond or a bridge, are somebody else's.
package network
