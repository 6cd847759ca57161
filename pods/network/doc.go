// Package network is the service of the pod "network": it brings up the
// physical Ethernet interfaces, gives each what
// /etc/kios/network.yaml says or else an address by DHCP, makes the VLANs and
// bonds of that file, and writes the file to which
// /etc/resolv.conf leads. It carries out a change of
// the file while it runs, without touching interfaces that the change is not
// about.
//
// What it sets outlives it. It takes nothing back when it ends, and finds out
// what is its own when it starts, so that a restart of the pod costs nobody a
// connection: static addresses and routes carry a protocol number, VLANs and
// bonds an alias, and leases are in files. Should it never return, the kernel
// removes each leased address, and with it the routes, at the end of its lease.
//
// IPv6 addresses and routes by router advertisements are the kernel's; what
// these say about DNS comes from package ndisc, and DHCPv6 is asked where they
// tell to. Virtual interfaces that are not in the file, and those that belong to
// somebody else's bond or bridge, are left alone.
//
//	link.go       what the kernel says about interfaces
//	service.go    passes on what happens: links, the file, router advertisements
//	reconcile.go  decides for each interface: manage, release, enslave, free, remove
//	policy.go     which interfaces get DHCP that the file does not list
//	hardware.go   what sysfs says about their devices
//	lend.go       one that somebody else's bridge or bond has taken
//	port.go       one interface that is managed
//	sysctl.go     what the kernel takes of router advertisements
//	client.go     its DHCP clients: client4.go, client6.go
//	static.go     addresses and routes of the file
//	lease.go      those of DHCP
//	route.go      routes of either kind
//	source.go     rules by which packets leave through the card of their address
//	virtual.go    VLANs and bonds
//	offer.go      resolv.conf, NTP servers, hostname
//	store.go      what a restart must not forget
package network
