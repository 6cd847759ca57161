//go:build root

package network

import (
	"strings"
	"testing"
	"time"
)

// Clouds lease one address alone, with a router that is outside of its subnet.
func TestLeaseOfOneAddress(t *testing.T) {
	l := newLAN(t)
	l.run("ip", "-n", l.server, "addr", "add", "172.31.1.1/32", "dev", "srv")
	l.startDNSMasq("--dhcp-option=1,255.255.255.255", "--dhcp-option=3,172.31.1.1", "--dhcp-option=58,5", "--dhcp-option=59,90")
	l.startService("eth0")
	l.eventually("the way to the router", 5*time.Second, func() bool {
		return l.has("-4 route", "default via 172.31.1.1 dev eth0 proto dhcp", "onlink")
	})
	if a := l.address(); !strings.Contains(a, "/32 ") {
		t.Errorf("the address is not alone:\n%s", a)
	}
	l.eventually("a renewal", 15*time.Second, l.logged("extended by 2m0s"))
	if n := strings.Count(l.routes(), "default"); n != 1 {
		t.Errorf("%d default routes:\n%s", n, l.routes())
	}
}

// A name of 15 characters, the most that there is, with characters that sysctl's keys
// have another meaning for.
func TestLongName(t *testing.T) {
	const name = "enp129s0f1.np-1"
	l := newLAN(t)
	l.cable("srv2", "10.78.0.1/24", name)
	l.startDNSMasqFor("10.78.0.50,10.78.0.99,255.255.255.0,2m", "--dhcp-option=3,10.78.0.1")
	l.configure("  " + name + ": {mtu: 1400}\n")
	l.startService("eth0")
	l.eventually("a lease", 5*time.Second, func() bool {
		return l.has("-4 addr show dev "+name, "inet 10.78.0.", "mtu 1400") && l.has("-4 route", "default via 10.78.0.1 dev "+name)
	})
}

// newTwins is a lan whose node has two cards, eth0 and eth1, of one hardware address.
func newTwins(t *testing.T) *lan {
	l := newLAN(t)
	l.cable("srv2", "10.78.0.1/24", "eth1")
	for _, name := range []string{"eth0", "eth1"} {
		l.ip("link", "set", name, "address", "52:54:00:12:34:56")
	}
	return l
}

// owns reports whether the interface has the address of twins, and the other has not.
func (l *lan) owns(name, other string) func() bool {
	return func() bool {
		return l.has("addr show "+name, "inet 10.77.0.20/24") && !l.has("addr show "+other, "inet 10.77.0.20/24")
	}
}

const twins = "  uplink: {mac: '52:54:00:12:34:56', addresses: [10.77.0.20/24]}\n"

// Two cards have one hardware address: the addresses of its entry are one's, and the
// other's only when that one is gone.
func TestTwoCardsOfOneMAC(t *testing.T) {
	l := newTwins(t)
	l.configure(twins)
	l.startService()
	l.eventually("a line about the other", 5*time.Second, l.logged("eth1: left alone: another interface has the addresses of its entry, eth0"))
	l.eventually("the address", 5*time.Second, l.owns("eth0", "eth1"))
	l.run("ip", "-n", l.server, "link", "del", "srv")
	l.eventually("the address", 5*time.Second, func() bool { return l.has("addr show eth1", "inet 10.77.0.20/24") })
}

// The first of them becomes part of a bridge, and is not configured here any more.
func TestTwinIsLent(t *testing.T) {
	l := newTwins(t)
	l.configure(twins)
	l.startService()
	l.eventually("the address", 5*time.Second, l.owns("eth0", "eth1"))
	l.ip("link", "add", "name", "br0", "type", "bridge")
	l.ip("link", "set", "eth0", "master", "br0")
	l.eventually("the address", 5*time.Second, func() bool { return l.has("addr show eth1", "inet 10.77.0.20/24") })
	if n := strings.Count(l.service.String(), "eth1: left alone"); n != 1 {
		t.Errorf("%d lines say that eth1 is left alone:\n%s", n, l.service.String())
	}
}

// Both of them use DHCP until the file has addresses: the first one has these, as after a
// restart.
func TestTwinsGetAddresses(t *testing.T) {
	l := newTwins(t)
	l.configure("  uplink: {mac: '52:54:00:12:34:56'}\n")
	l.startService()
	l.eventually("both brought up", 5*time.Second, func() bool { return l.isUp("eth0") && l.isUp("eth1") })
	l.configure(twins)
	for range 2 {
		l.eventually("a line about the other", 5*time.Second, l.logged("eth1: left alone: another interface has the addresses of its entry, eth0"))
		l.eventually("the address", 5*time.Second, l.owns("eth0", "eth1"))
		l.service.Stop()
		l.startService()
	}
}
