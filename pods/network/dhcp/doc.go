// Package dhcp is a DHCPv4 client: it gets an address for one Ethernet
// interface, keeps it by renewing the lease, and starts over when the server
// takes it away.
//
// It follows RFC 2131 with the options of RFC 2132 (subnet mask, router, DNS,
// domain, MTU, NTP, hostname), RFC 3397 (domain search), RFC 3442 (classless
// routes) and RFC 4702 (the server's FQDN for the client, which is only read).
// Packets are encoded and decoded by github.com/insomniacslk/dhcp; the
// package's own client, nclient4, is not used because it gives up after a few
// attempts and knows neither renewal by unicast, rebinding nor INIT-REBOOT.
//
// It leaves out: the ARP probe before an address is used (RFC 2131 says SHOULD;
// it costs seconds at every boot and data centres do not need it), DHCPDECLINE,
// DHCPRELEASE (an address must survive a restart of this program), option
// overload, and everything about IPv6.
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
// [Machine] is that diagram and does no I/O; what it shares with DHCPv6 is in
// package lease. [Run] connects it to the clock and to the sockets of [Listen].
package dhcp
