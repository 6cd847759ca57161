// Package lease is what the clients of DHCPv4 and of DHCPv6 have in common: the
// instants of a lease, and a state machine that asks for one, renews it, and
// starts over when it is lost. The states, the messages and most of the waiting
// times differ between RFC 2131 and RFC 8415: packages dhcp and dhcp6 add them as
// a [Protocol].
//
//	        enter Start                       Use
//	no link ------------> a state of the  ----------> bound
//	   ^                  protocol: Send, <----------   |
//	   | link down        Wait, Send ...     Renew      | Expiry, Drop:
//	   | (any state)          ^  |                      | to Start
//	                          +--+ Restart: to Start, after a pause
//
// The package does no I/O and has no clock. Its callers tell it what happened
// and when.
package lease
