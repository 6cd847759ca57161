//go:build root

package network

import (
	"strings"
	"testing"
	"time"
)

// leasedAddress returns the IPv4 address of the interface.
func (l *lan) leasedAddress(name string) string {
	l.t.Helper()
	_, rest, _ := strings.Cut(l.ip("-4", "addr", "show", "dev", name), "inet ")
	address, _, _ := strings.Cut(rest, "/")
	return address
}

// joinSubnets gives the node a card eth1 in the subnet of eth0.
func (l *lan) joinSubnets() {
	l.t.Helper()
	l.run("ip", "-n", l.server, "link", "add", "name", "switch", "type", "bridge")
	l.run("ip", "-n", l.server, "addr", "del", "10.77.0.1/24", "dev", "srv")
	l.run("ip", "-n", l.server, "addr", "add", "10.77.0.1/24", "dev", "switch")
	l.cable("srv2", "10.99.0.1/24", "eth1")
	for _, name := range []string{"srv", "srv2", "switch"} {
		l.run("ip", "-n", l.server, "link", "set", name, "up")
		if name != "switch" {
			l.run("ip", "-n", l.server, "link", "set", name, "master", "switch")
		}
	}
}

// Two cards in one subnet: packets leave through the card that has their address, and
// each card answers for its own address only. Pods stay in reach.
func TestTwoCardsInOneSubnet(t *testing.T) {
	l := newLAN(t)
	l.joinSubnets()
	l.ip("link", "add", "name", "pods", "type", "bridge")
	l.ip("addr", "add", "10.244.0.1/24", "dev", "pods")
	l.ip("link", "set", "pods", "up")
	l.startDNSMasq()
	l.startService("eth0", "eth1")
	l.eventually("both leases", 10*time.Second, func() bool { return l.leased("eth0")() && l.leased("eth1")() })
	first, second := l.leasedAddress("eth0"), l.leasedAddress("eth1")
	check := func() {
		t.Helper()
		for _, tc := range []struct{ to, from, device string }{
			{"10.77.0.1", first, "eth0"}, {"192.0.2.1", first, "eth0"}, {"10.77.0.1", second, "eth1"}, {"192.0.2.1", second, "eth1"},
			{"10.244.0.5", first, "pods"}, {"10.244.0.5", second, "pods"},
		} {
			l.eventually("to "+tc.to+" from "+tc.from+" by "+tc.device, 5*time.Second, func() bool {
				return l.has("route get "+tc.to+" from "+tc.from, "dev "+tc.device)
			})
		}
	}
	check()
	l.expect("the second default route", l.routes(), "metric 1027")
	l.run("ip", "-n", l.server, "neigh", "flush", "all")
	l.run("ip", "netns", "exec", l.server, "busybox", "ping", "-c1", "-W2", second)
	card := strings.Fields(l.ip("-br", "link", "show", "eth1"))[2]
	l.expect("who answers for the second address", l.run("ip", "-n", l.server, "neigh", "show", second), card)
	rules := l.ip("rule")
	l.service.Stop()
	changes := l.watchRules()
	l.startService("eth0", "eth1")
	l.eventually("both leases again", 10*time.Second, func() bool { return strings.Count(l.service.String(), "extended") == 2 })
	check()
	if after := l.ip("rule"); after != rules {
		t.Errorf("the rules after a restart:\n%sbefore:\n%s", after, rules)
	}
	if what := changes(); strings.Contains(what, "Deleted") {
		t.Errorf("the restart took rules away:\n%s", what)
	}
	filters := func(want string) func() bool {
		return func() bool { return l.filter("eth0") == want && l.filter("eth1") == want }
	}
	l.eventually("answers for own addresses only", 5*time.Second, filters("1"))
	l.ip("link", "set", "eth1", "down")
	l.eventually("an empty table", 5*time.Second, func() bool { return l.ip("route", "show", "table", "7500003") == "" })
	l.ip("link", "set", "eth1", "up")
	check()
	l.configure("  eth1: {sourceRouting: false}\n")
	l.eventually("no rules", 5*time.Second, func() bool { return !l.has("rule", second) && l.ip("route", "show", "table", "7500003") == "" })
	l.eventually("answers for all addresses", 5*time.Second, filters("0"))
	l.configure("  eth0: {}\n")
	l.eventually("the rules again", 5*time.Second, func() bool { return l.has("rule", second) })
	l.ip("link", "del", "eth1")
	l.eventually("no rules for a card that is gone", 5*time.Second, func() bool { return !l.has("rule", second) })
}

func (l *lan) filter(name string) string {
	return strings.TrimSpace(l.run("ip", "netns", "exec", l.node, "cat", "/proc/sys/net/ipv4/conf/"+name+"/arp_filter"))
}

// Which card the main table prefers does not matter: it may be the second, for several
// reasons. Packets to another card's subnet leave by the card of their address, too.
func TestNoCardIsTheFirst(t *testing.T) {
	for name, file := range map[string]string{
		"ignored": "  eth0: {addresses: [10.77.0.20/24], dhcp4: true, ignore: [default-route]}\n  eth1: {addresses: [10.78.0.20/24], routes: [{to: default, via: 10.78.0.1}]}\n",
		"metrics": "  eth0: {addresses: [10.77.0.20/24], routes: [{to: default, via: 10.77.0.1, metric: 700}]}\n" +
			"  eth1: {addresses: [10.78.0.20/24], routes: [{to: default, via: 10.78.0.9, metric: 900}, {to: default, via: 10.78.0.1, metric: 600}, {to: 0.0.0.0/1, via: 10.78.0.8}]}\n",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t)
			l.cable("srv2", "10.78.0.1/24", "eth1")
			l.startDNSMasq()
			l.configure(file)
			l.startService("eth0", "eth1")
			l.eventually("default routes", 5*time.Second, func() bool { return l.has("-4 route show table all", "dev eth0 ", "default via 10.78.0.1 dev eth1") })
			for _, tc := range []struct{ to, from, device string }{
				{"200.0.2.1", "10.77.0.20", "via 10.77.0.1 dev eth0"}, {"200.0.2.1", "10.78.0.20", "via 10.78.0.1 dev eth1"},
				{"10.78.0.1", "10.77.0.20", "via 10.77.0.1 dev eth0"}, {"10.77.0.1", "10.78.0.20", "via 10.78.0.1 dev eth1"},
				{"10.77.0.1", "10.77.0.20", "dev eth0"}, {"10.78.0.1", "10.78.0.20", "dev eth1"},
			} {
				l.eventually("to "+tc.to+" from "+tc.from+" by "+tc.device, 5*time.Second, func() bool {
					return l.has("route get "+tc.to+" from "+tc.from, tc.device)
				})
			}
			if strings.Contains(l.service.String(), "packets may leave") {
				t.Errorf("not all could be set:\n%s", l.service)
			}
		})
	}
}

func (l *lan) watchRules() func() string {
	l.t.Helper()
	monitor := l.start(l.node, "ip", "monitor", "rule")
	l.eventually("the monitor", 5*time.Second, func() bool {
		l.ip("rule", "add", "from", "192.0.2.99", "table", "99")
		l.ip("rule", "del", "from", "192.0.2.99", "table", "99")
		return strings.Contains(monitor.String(), "192.0.2.99")
	})
	return func() string {
		var what strings.Builder
		for line := range strings.Lines(monitor.String()) {
			if !strings.Contains(line, "192.0.2.99") {
				what.WriteString(line)
			}
		}
		return what.String()
	}
}

// Of two cards with the same metric, the second has the default route when the first
// has lost it, however that came.
func TestEqualMetrics(t *testing.T) {
	for name, lose := range map[string]func(l *lan){
		"gone":     func(l *lan) { l.ip("link", "del", "eth0") },
		"down":     func(l *lan) { l.ip("link", "set", "eth0", "down") },
		"let go":   func(l *lan) { l.configure("  eth0: {manage: false}\n  eth1: {metric: 300}\n") },
		"no lease": func(l *lan) { l.configure("  eth0: {dhcp4: false}\n  eth1: {metric: 300}\n") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t)
			l.startDNSMasq("--dhcp-range=10.78.0.50,10.78.0.99,255.255.255.0,2m")
			l.configure("  eth0: {metric: 300}\n")
			l.startService("eth0", "eth1")
			l.eventually("the first card's default route", 5*time.Second, func() bool { return l.has("-4 route", "default via 10.77.0.1 dev eth0") })
			l.cable("srv2", "10.78.0.1/24", "eth1")
			l.configure("  eth0: {metric: 300}\n  eth1: {metric: 300}\n")
			l.eventually("a line about the second", 10*time.Second, l.logged("eth1: not all that DHCP says can be used: add route to 0.0.0.0/0"))
			lose(l)
			l.eventually("the second card's default route", 5*time.Second, func() bool { return l.has("-4 route", "default via 10.78.0.1 dev eth1") })
		})
	}
}

// With one card there are no rules.
func TestOneCardHasNoRules(t *testing.T) {
	l := newLAN(t)
	l.startDNSMasq()
	l.startService("eth0")
	l.eventually("a default route", 5*time.Second, func() bool { return l.has("-4 route", "default") })
	if strings.Contains(l.ip("rule"), "325") {
		t.Errorf("there are rules:\n%s", l.ip("rule"))
	}
}
