//go:build root

package network

import (
	"strings"
	"testing"
	"time"
)

// nodeMAC returns the hardware address of the node's interface.
func (l *lan) nodeMAC() string {
	return strings.TrimSpace(l.run("ip", "netns", "exec", l.node, "cat", "/sys/class/net/eth0/address"))
}

// addRival puts another machine on the link, which has all these addresses.
func (l *lan) addRival(addresses string) {
	rival := l.node + "-r"
	l.run("ip", "netns", "add", rival)
	l.t.Cleanup(func() { l.run("ip", "netns", "del", rival) })
	l.run("ip", "link", "add", "port", "netns", l.server, "type", "veth", "peer", "name", "eth0", "netns", rival)
	l.run("ip", "-n", l.server, "addr", "del", "10.77.0.1/24", "dev", "srv")
	l.run("ip", "-n", l.server, "link", "add", "br0", "type", "bridge")
	l.run("ip", "-n", l.server, "addr", "add", "10.77.0.1/24", "dev", "br0")
	for _, name := range []string{"srv", "port"} {
		l.run("ip", "-n", l.server, "link", "set", name, "master", "br0", "up")
	}
	l.run("ip", "-n", l.server, "link", "set", "br0", "up")
	l.run("ip", "-n", rival, "link", "set", "lo", "up")
	l.run("ip", "-n", rival, "link", "set", "eth0", "up")
	l.run("ip", "-n", rival, "route", "add", "local", addresses, "dev", "lo")
}

// Another machine has the address that the server gives.
func TestAddressThatAnotherMachineHas(t *testing.T) {
	l := newLAN(t)
	l.addRival("10.77.0.40/32")
	l.startDNSMasq("--dhcp-host=" + l.nodeMAC() + ",10.77.0.40")
	l.startService("eth0")
	// It is asked for twice, with ten seconds in between.
	l.eventually("a line about it", 25*time.Second, l.logged("has 10.77.0.40/24, giving it back to 10.77.0.1"))
	l.eventually("another address", 25*time.Second, func() bool {
		return l.hasAddress() && !strings.Contains(l.address(), "inet 10.77.0.40/")
	})
}

// A server with nothing but a reserved address offers it to nobody for ten minutes once
// it was given back: what is claimed once is not given back.
func TestReservedAddressThatIsClaimedOnce(t *testing.T) {
	l := newLAN(t)
	l.addRival("10.77.0.40/32")
	l.startDNSMasqFor("10.77.0.0,static,255.255.255.0,2m", "--dhcp-host="+l.nodeMAC()+",10.77.0.40")
	l.startService("eth0")
	l.eventually("a line about it", 5*time.Second, l.logged("claims 10.77.0.40/24, asking for it once more"))
	l.run("ip", "-n", l.node+"-r", "route", "del", "local", "10.77.0.40/32", "dev", "lo")
	l.eventually("the address", 10*time.Second, func() bool { return strings.Contains(l.address(), "inet 10.77.0.40/24") })
}

// Each of two cards on one link answers for the addresses of both.
func TestOwnCardIsNoOtherMachine(t *testing.T) {
	l := newLAN(t)
	l.addRival("10.77.0.2/32")
	l.run("ip", "link", "add", "port2", "netns", l.server, "type", "veth", "peer", "name", "eth1", "netns", l.node)
	l.run("ip", "-n", l.server, "link", "set", "port2", "master", "br0", "up")
	l.startDNSMasq("--dhcp-option=58,5")
	l.startService("eth0", "eth1")
	// The check of an address takes three seconds, and the renewal comes after five.
	l.eventually("renewals", 20*time.Second, func() bool { return strings.Count(l.service.String(), "extended by 2m0s") >= 4 })
	if text := l.service.String(); strings.Contains(text, "giving it back") {
		t.Errorf("the log says:\n%s", text)
	}
}

// A router answers for all addresses: the node gets one all the same.
func TestRouterThatAnswersForEverything(t *testing.T) {
	l := newLAN(t)
	l.addRival("10.77.0.32/27")
	l.run("ip", "-n", l.node+"-r", "route", "add", "local", "10.77.0.64/26", "dev", "lo")
	l.startDNSMasq()
	l.startService("eth0")
	l.eventually("an address, used anyway", 30*time.Second, func() bool {
		return l.hasAddress() && l.logged("using it anyway")()
	})
}

// A neighbour that knows the address elsewhere learns where it is now.
func TestAddressIsAnnounced(t *testing.T) {
	l := newLAN(t)
	l.addRival("10.77.0.2/32")
	neighbour := l.node + "-r"
	l.run("ip", "-n", neighbour, "neigh", "replace", "10.77.0.40", "lladdr", "02:00:00:00:00:09", "dev", "eth0", "nud", "stale")
	l.startDNSMasq("--dhcp-host=" + l.nodeMAC() + ",10.77.0.40")
	l.startService("eth0")
	l.eventually("the new place of the address", 10*time.Second, func() bool {
		return strings.Contains(l.run("ip", "-n", neighbour, "neigh", "show", "10.77.0.40"), l.nodeMAC())
	})
}

// So it does with an address of the file, also when the link returns.
func TestAddressOfTheFileIsAnnounced(t *testing.T) {
	l := newLAN(t)
	l.addRival("10.77.0.2/32")
	neighbour := l.node + "-r"
	elsewhere := func() {
		l.run("ip", "-n", neighbour, "neigh", "replace", "10.77.0.40", "lladdr", "02:00:00:00:00:09", "dev", "eth0", "nud", "stale")
	}
	here := func() bool {
		return strings.Contains(l.run("ip", "-n", neighbour, "neigh", "show", "10.77.0.40"), l.nodeMAC())
	}
	elsewhere()
	l.configure("  eth0: {addresses: [10.77.0.40/24]}\n")
	l.startService("eth0")
	l.eventually("the new place of the address", 10*time.Second, here)
	l.run("ip", "-n", l.server, "link", "set", "srv", "down")
	l.eventually("loss of the link", 5*time.Second, func() bool { return l.has("link show eth0", "NO-CARRIER") })
	elsewhere()
	l.run("ip", "-n", l.server, "link", "set", "srv", "up")
	l.eventually("the place of the address after a break", 10*time.Second, here)
}
