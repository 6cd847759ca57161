// Package dhcp6 is a DHCPv6 client for one Ethernet interface: it gets
// addresses and keeps them by renewing the lease (stateful), or only asks for
// name servers and the like (stateless). Which of the two a network wants is in
// its router advertisements, flags M and O: package ndisc reads them. Routes and
// the length of the on-link prefix are theirs, too.
//
// It follows RFC 8415 with the options of RFC 3646 (DNS), RFC 4075 (SNTP) and
// RFC 5908 (NTP). Packets are encoded by github.com/insomniacslk/dhcp; the
// package's own clients are not used, because they know neither renewal, rebinding
// nor CONFIRM.
//
// Answers come from anybody on the link. They are read in little memory, and only if
// they fit the latest message. A lease is used as far as it can be: what of it is of
// no use costs a line in the log.
//
// It departs from RFC 8415 where that makes a boot wait for nothing: it sends
// the first message without the random delay of up to a second (machines that
// are switched on together have made their link-local addresses by then, which
// has a delay of its own), and it takes an offer without a preference at once,
// instead of collecting others for a second. A server that states a preference
// gets that second, because somebody wants a choice. Retransmissions slow down
// to two minutes, not to an hour, unless the server asks for that: RFC 7083
// made it an hour for the sake of networks without DHCPv6, which are not asked
// here.
//
// It leaves out: temporary addresses, prefix delegation, RELEASE (an address
// must survive a restart of this program), Reconfigure, authentication, unicast
// to servers, and NTP servers by name.
//
//	               link up, lease remembered
//	+---------+ ---------------------------------> +------------+
//	| NO LINK |                                    | CONFIRMING |
//	+---------+ --------+                          +------------+
//	     ^              | link up                   |     |
//	     | link down    v               not on link |     | confirmed, or no answer
//	     | (any    +------------+ <-----------------+     |
//	     |  state) | SOLICITING | <-+                     |
//	               +------------+   | refused, no answer  |
//	                  ^   |  | OFFER|                     |
//	                  |   |  v      |                     |
//	                  |   | +------------+     REPLY      v
//	                  |   | | REQUESTING | ------------> +-------+
//	                  |   | +------------+               | BOUND | <--+
//	                  |   |    REPLY (rapid commit)      |       |    |
//	                  |   +----------------------------> +-------+    |
//	    expiry,       |                              T1    |          |
//	    taken back:   |   +-----------+ <------------------+          |
//	    drop lease    +---| RENEWING  | --- REPLY ------------------->|
//	                  |   +-----------+                               |
//	                  |         | T2                                  |
//	                  |         v                                     |
//	                  |   +-----------+                               |
//	                  +---| REBINDING | --- REPLY --------------------+
//	                      +-----------+
//
// Besides, a server that has forgotten a lease sends RENEWING and REBINDING to
// REQUESTING; a duplicate address sends any state to DECLINING and from there to
// SOLICITING; and a stateless client has INFORMING in place of all states but
// NO LINK and BOUND.
//
// [Machine] is that diagram and does no I/O; what it shares with DHCPv4 is in
// package lease. [Run] connects it to the clock, to a socket and to what the
// kernel says about the interface's addresses.
package dhcp6
