// Package dhcp is a DHCPv4 client: it gets an address for one Ethernet
// interface, keeps it by renewing the lease, and starts over when the server
// takes it away.
//
// It follows RFC 2131 with the options of RFC 2132 (subnet mask, router, DNS,
// domain, MTU, NTP, hostname, static routes, overload), RFC 3397 (domain search),
// RFC 3442 (classless routes, also under the older number 249), RFC 4702 (the
// server's FQDN for the client, which is only read) and RFC 6842 (the client
// identifier in answers). Packets are encoded by github.com/insomniacslk/dhcp; the
// package's own client, nclient4, is not used because it gives up after a few
// attempts and knows neither renewal by unicast, rebinding nor INIT-REBOOT.
//
// Answers come from anybody on the link. They are read in little memory, and only if
// they fit the latest message. A lease is used as far as it can be: what of it is of
// no use costs a line in the log.
//
// The address is used as soon as the server has confirmed it, and announced to the
// link. Whether another machine has it is asked meanwhile and for some seconds
// after (RFC 5227, package arp). RFC 2131 asks before it uses the address, which costs
// seconds at every boot. An address that another machine claims twice is declined; RFC
// 2131 declines it at once, and then one packet of anybody can take a machine with a
// reserved address off the network for minutes.
//
// It leaves out: DHCPRELEASE (an address must survive a restart of this program,
// which cannot tell that from the end of the machine), FORCERENEW, option 108 of RFC
// 8925 (a node has no translation for IPv4 addresses, so that it takes IPv4 where it
// is), and everything about IPv6.
//
//	               link up, lease remembered
//	+---------+ ---------------------------------> +-----------+
//	| NO LINK |                                    | REBOOTING |
//	+---------+ --------+                          +-----------+
//	     ^              | link up                   |   |   |
//	     | link down    v            NAK, no answer |   |   | ACK
//	     | (any     +-----------+ <-----------------+   |   |
//	     |  state)  | SELECTING | <-+                   |   |
//	                +-----------+   | NAK, no answer    |   |
//	                  ^     | OFFER |                   |   |
//	                  |     v       |                   |   |
//	                  |   +------------+      ACK       |   v
//	                  |   | REQUESTING | -------------> +-------+
//	                  |   +------------+                | BOUND | <--+
//	                  |                                 +-------+    |
//	    NAK, expiry:  |                              T1     |        |
//	    drop address  |   +-----------+ <-------------------+        |
//	                  +---| RENEWING  | --- ACK -------------------->|
//	                  |   +-----------+                              |
//	                  |         | T2                                 |
//	                  |         v                                    |
//	                  |   +-----------+                              |
//	                  +---| REBINDING | --- ACK ---------------------+
//	                      +-----------+
//
// Besides, an address that another machine claims sends REQUESTING and BOUND to
// SELECTING after ten seconds.
//
// [Machine] is that diagram and does no I/O; what it shares with DHCPv6 is in
// package lease. [Run] connects it to the clock and to the sockets of [Listen].
package dhcp
