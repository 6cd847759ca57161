//go:build root

package network

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kios/pods/network/resolvconf"
	"kios/test/lab"
)

// has reports whether what "ip" says has all the texts.
func (l *lan) has(args string, texts ...string) bool {
	l.t.Helper()
	out := l.ip(strings.Fields(args)...)
	for _, text := range texts {
		if !strings.Contains(out, text) {
			return false
		}
	}
	return true
}

// watch begins to note what happens, once nothing does by itself any more, and
// returns a function that tells what happened to the interface, or to all.
func (l *lan) watch(name string) func() string {
	l.t.Helper()
	l.eventually("link-local addresses", 5*time.Second, func() bool { return !l.has("-6 addr", "tentative") })
	monitor := l.start(l.node, "ip", "monitor", "address", "route", "link")
	l.ip("link", "add", "name", "mark", "type", "bridge")
	length := 0
	l.eventually("the monitor", 5*time.Second, func() bool {
		length++
		l.ip("link", "set", "mark", "txqueuelen", strconv.Itoa(1000+length))
		return strings.Contains(monitor.String(), "mark:")
	})
	before := len(monitor.String())
	return func() string {
		var what strings.Builder
		for line := range strings.Lines(monitor.String()[before:]) {
			if strings.Contains(line, name) && !strings.Contains(line, "mark") {
				what.WriteString(line)
			}
		}
		return what.String()
	}
}

// Nobody answers on this network: there is nothing to wait for.
func TestStatic(t *testing.T) {
	l := newLAN(t)
	l.configure(`
  eth0:
    addresses: [10.77.0.20/24, 10.77.1.20/32, 2001:db8:77::20/64]
    routes:
      - {to: default, via: 10.77.0.1}
      - {to: 172.20.0.0/16, via: 10.88.0.1, metric: 50}
      - {to: 172.21.0.0/16}
      - {to: default, via: fe80::1}
      - {to: 2001:db8:9::/48, via: 2001:db8:88::1}
    mtu: 1400
    dns: [10.77.0.1, 2001:db8:77::1]
    search: [lab.example]
    ntp: [10.77.0.3, ntp.lab.example]
`)
	l.startService("eth0")
	l.eventually("addresses", 5*time.Second, func() bool {
		return l.has("addr show dev eth0", "mtu 1400", "inet 10.77.0.20/24 brd 10.77.0.255 scope global", "inet 10.77.1.20/32", "inet6 2001:db8:77::20/64")
	})
	l.eventually("routes", 5*time.Second, func() bool {
		return l.has("-4 route", "default via 10.77.0.1 dev eth0 proto 75", "172.20.0.0/16 via 10.88.0.1 dev eth0 proto 75 metric 50 onlink", "172.21.0.0/16 dev eth0 proto 75 scope link") &&
			l.has("-6 route", "default via fe80::1 dev eth0 proto 75", "2001:db8:9::/48 via 2001:db8:88::1 dev eth0 proto 75", "onlink")
	})
	l.eventually("resolv.conf", 5*time.Second, func() bool {
		return l.resolver() == resolvconf.Marker+"\nsearch lab.example\nnameserver 10.77.0.1\nnameserver 2001:db8:77::1\n"
	})
	l.eventually("NTP servers", 5*time.Second, func() bool { return l.read("state/ntp") == "10.77.0.3\nntp.lab.example\n" })
	if out := l.ip("addr", "show", "dev", "eth0", "scope", "global"); strings.Contains(out, "tentative") {
		t.Errorf("an address of the file cannot be used at once:\n%s", out)
	}
	l.run("ip", "netns", "exec", l.server, "busybox", "ping", "-c1", "-W2", "10.77.0.20")
}

// The peer's end of the cable is pulled out and put in again, and then the
// interface itself is set down and up by somebody else.
func TestStaticLinkDownAndUp(t *testing.T) {
	l := newLAN(t)
	l.configure("  eth0:\n    addresses: [10.77.0.20/24, 2001:db8:77::20/64]\n    routes: [{to: default, via: 10.77.0.1}, {to: default, via: 2001:db8:77::1}]\n")
	l.startService("eth0")
	complete := func() bool {
		return l.has("addr show dev eth0", "inet 10.77.0.20/24", "inet6 2001:db8:77::20/64", "LOWER_UP") &&
			l.has("-4 route", "default via 10.77.0.1") && l.has("-6 route", "default via 2001:db8:77::1")
	}
	l.eventually("everything", 5*time.Second, complete)
	l.run("ip", "-n", l.server, "link", "set", "srv", "down")
	l.eventually("no carrier", 5*time.Second, func() bool { return l.has("link show eth0", "NO-CARRIER") })
	l.run("ip", "-n", l.server, "link", "set", "srv", "up")
	l.eventually("everything, with a carrier again", 5*time.Second, complete)
	l.ip("link", "set", "eth0", "down")
	if l.has("-4 route", "default") {
		t.Fatal("the route is still there: the rest shows nothing")
	}
	l.ip("link", "set", "eth0", "up")
	l.eventually("everything, set up again", 5*time.Second, complete)
}

// What cannot be read is a mistake, and nothing waits for it.
func TestFIFOInPlaceOfTheFile(t *testing.T) {
	l := newLAN(t)
	l.cable("srv2", "10.78.0.1/24", "eth1")
	l.startDNSMasq("--dhcp-option=58,5", "--dhcp-option=59,90", "--dhcp-range=10.78.0.50,10.78.0.99,255.255.255.0,2m")
	l.configure("  eth1: {addresses: [10.78.0.20/24]}\n")
	l.startService("eth0", "eth1")
	l.eventually("addresses", 5*time.Second, func() bool { return l.hasAddress() && l.has("addr show eth1", "inet 10.78.0.20/24") })
	lab.Must(t, unix.Mkfifo(l.path("etc/kios/new"), 0o600))
	lab.Must(t, os.Rename(l.path("etc/kios/new"), l.path("etc/kios/network.yaml")))
	l.eventually("a line about it", 5*time.Second, l.logged("network.yaml cannot be used: everything stays as it is"))
	l.eventually("a renewal", 15*time.Second, l.logged("extended by 2m0s"))
	if !l.has("addr show eth1", "inet 10.78.0.20/24") {
		t.Error("the address of the file is gone")
	}
	l.service.Stop()
	l.startService("eth0", "eth1")
	l.eventually("the last usable file", 5*time.Second, l.logged("what it said when it last could be counts until then"))
	lab.Must(t, os.Remove(l.path("etc/kios/network.yaml")))
	l.eventually("removal of the address", 10*time.Second, func() bool { return !l.has("addr show eth1", "inet 10.78.0.20/24") })
}

// A link that leads out of what the pod sees is a mistake, not the end of the file.
func TestLinkOutOfThePod(t *testing.T) {
	l := newLAN(t)
	l.configure("  eth0: {addresses: [10.77.0.20/24]}\n")
	l.startService("eth0")
	has := func() bool { return l.has("addr show eth0", "inet 10.77.0.20/24") }
	l.eventually("the address", 5*time.Second, has)
	l.eventually("a copy", 5*time.Second, func() bool { return strings.Contains(l.read("last/network.yaml"), "10.77.0.20/24") })
	lab.Must(t, os.Symlink("../elsewhere/network.yaml", l.path("etc/kios/new")))
	lab.Must(t, os.Rename(l.path("etc/kios/new"), l.path("etc/kios/network.yaml")))
	l.eventually("a line about it", 5*time.Second, l.logged("network.yaml is a link to ../elsewhere/network.yaml"))
	l.eventually("the end of reading", 5*time.Second, l.logged("network.yaml cannot be used: everything stays as it is"))
	l.service.Stop()
	l.ip("addr", "flush", "dev", "eth0")
	l.startService("eth0")
	l.eventually("the address again", 5*time.Second, has)
	l.expect("the copy", l.read("last/network.yaml"), "10.77.0.20/24")
}

// A typing mistake on a running node takes nothing away, nor does a reboot with it.
func TestMistypedAddress(t *testing.T) {
	l := newLAN(t)
	l.configure("  eth0: {addresses: [10.77.0.20/24]}\n")
	l.startService("eth0")
	has := func() bool { return l.has("addr show eth0", "inet 10.77.0.20/24") }
	l.eventually("the address", 5*time.Second, has)
	l.eventually("a copy", 5*time.Second, func() bool { return strings.Contains(l.read("last/network.yaml"), "10.77.0.20/24") })
	l.configure("  eth0: {addresses: [10.77.0.200]}\n")
	l.eventually("a line about it", 5*time.Second, l.logged("eth0: the addresses and routes that it had before the mistake stay"))
	for range 2 {
		if !has() || !strings.Contains(l.read("last/network.yaml"), "10.77.0.20/24") {
			t.Errorf("%s\nthe copy is %q", l.address(), l.read("last/network.yaml"))
		}
		l.service.Stop()
		l.ip("addr", "flush", "dev", "eth0")
		l.startService("eth0")
		l.eventually("the address again", 5*time.Second, has)
	}
	l.configure("  eth0: {addresses: [10.77.0.200/24]}\n")
	l.eventually("the corrected one only", 5*time.Second, func() bool { return !has() && l.has("addr show eth0", "inet 10.77.0.200/24") })
}

func TestFileChanges(t *testing.T) {
	l := newLAN(t)
	l.cable("srv2", "10.78.0.1/24", "eth1")
	l.startDNSMasq("--dhcp-range=10.78.0.50,10.78.0.99,255.255.255.0,2m")
	const eth1 = "  eth1:\n    addresses: [10.78.0.20/24]\n    routes: [{to: 172.30.0.0/16, via: 10.78.0.1}]\n"
	l.configure(eth1)
	l.startService("eth0", "eth1")
	l.eventually("eth0 by DHCP, eth1 static", 5*time.Second, func() bool {
		return l.hasAddress() && l.has("-4 route", "default via 10.77.0.1 dev eth0 proto dhcp") && l.has("addr show eth1", "inet 10.78.0.20/24")
	})
	// Nothing may happen to eth1 from here on.
	touched := l.watch("eth1")
	l.configure(eth1 + "  eth0:\n    addresses: [10.77.0.20/24, 10.77.0.21/24]\n    routes: [{to: default, via: 10.77.0.1}]\n    mtu: 1300\n    dns: [192.0.2.1]\n")
	l.eventually("eth0 static", 5*time.Second, func() bool {
		return l.has("-4 addr show eth0", "mtu 1300", "inet 10.77.0.20/24", "inet 10.77.0.21/24") && strings.Count(l.address(), "inet ") == 2 &&
			l.has("-4 route", "default via 10.77.0.1 dev eth0 proto 75") && !l.has("-4 route", "proto dhcp") &&
			l.resolver() == resolvconf.Marker+"\nnameserver 192.0.2.1\n"
	})
	// The first address of a subnet takes the second one with it.
	l.configure(eth1 + "  eth0:\n    addresses: [10.77.0.21/24]\n    routes: [{to: 172.20.0.0/16, via: 10.77.0.1}]\n")
	l.eventually("eth0 with less", 5*time.Second, func() bool {
		return l.has("-4 addr show eth0", "mtu 1500", "inet 10.77.0.21/24") && strings.Count(l.address(), "inet ") == 1 &&
			l.has("-4 route", "172.20.0.0/16 via 10.77.0.1") && !l.has("-4 route", "default")
	})
	l.write("etc/kios/network.yaml", "interfaces: [\n")
	l.eventually("the complaint", 5*time.Second, l.logged("everything stays as it is"))
	if !l.has("-4 addr show eth0", "inet 10.77.0.21/24") {
		t.Error("a file that cannot be read changed the interface")
	}
	l.configure(eth1)
	l.eventually("eth0 by DHCP again", 5*time.Second, func() bool {
		return l.hasAddress() && !l.has("addr show eth0", "10.77.0.21/24") && !l.has("-4 route", "dev eth0 proto 75") &&
			l.has("-4 route", "default via 10.77.0.1 dev eth0 proto dhcp")
	})
	if what := touched(); what != "" {
		t.Errorf("eth1 was touched:\n%s", what)
	}
	lab.Must(t, os.RemoveAll(l.path("etc/kios")))
	l.eventually("eth1 by DHCP", 5*time.Second, func() bool {
		return !l.has("addr show eth1", "10.78.0.20") && l.has("addr show eth1", "inet 10.78.0.") && !l.has("-4 route", "proto 75")
	})
	l.configure(eth1)
	l.eventually("eth1 static", 5*time.Second, func() bool { return l.has("addr show eth1", "10.78.0.20/24") })
}

// What changed while nobody watched is carried out at the start, and the rest is
// there all the time.
func TestRestartKeepsStatic(t *testing.T) {
	l := newLAN(t)
	l.cable("srv2", "10.78.0.1/24", "eth1")
	l.configure("  eth0:\n    addresses: [10.77.0.20/24, 2001:db8:77::20/64, 2001:db8:77::21/64]\n    routes: [{to: default, via: 10.77.0.1}]\n  eth1: {addresses: [10.78.0.20/24]}\n")
	l.startService("eth0")
	l.eventually("addresses", 5*time.Second, func() bool {
		return l.has("addr", "10.77.0.20/24", "2001:db8:77::20/64", "2001:db8:77::21/64", "10.78.0.20/24") && l.has("route", "default")
	})
	l.service.Stop()
	if !l.has("addr show eth0", "10.77.0.20/24") || !l.has("route", "default") {
		t.Error("the end of the program took something away")
	}
	changes := l.watch("")
	l.configure("  eth0:\n    addresses: [10.77.0.20/24, 2001:db8:77::20/64]\n    routes: [{to: default, via: 10.77.0.1}]\n")
	l.startService("eth0")
	l.eventually("fewer addresses", 5*time.Second, func() bool {
		return !l.has("addr show eth0", "2001:db8:77::21") && !l.has("addr show eth1", "10.78.0.20")
	})
	l.expect("the rest", l.ip("addr", "show", "eth0"), "10.77.0.20/24")
	for line := range strings.Lines(changes()) {
		if strings.HasPrefix(line, "Deleted") && !strings.Contains(line, "2001:db8:77::21") && !strings.Contains(line, "10.78.0") {
			t.Errorf("the restart removed something that is in the file: %s", line)
		}
	}
}

func TestGarbageInTheFile(t *testing.T) {
	for name, garbage := range map[string]string{
		"syntax": "interfaces:\n  eth0: [\n", "binary": "\x00\x7fELF", "shape": "- eth0\n",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t)
			l.write("etc/kios/network.yaml", garbage)
			l.startDNSMasq()
			l.startService("eth0")
			l.eventually("an address", 5*time.Second, l.hasAddress)
			l.expect("the log", l.service.String(), "etc/kios/network.yaml cannot be used: every physical interface uses DHCP until it can")
			l.configure("  eth0: {addresses: [10.77.0.20/24]}\n")
			l.eventually("the address of the file", 5*time.Second, func() bool { return l.has("addr", "inet 10.77.0.20/24") })
		})
	}
}

// A restart with a file that makes no sense must not cut the node off.
func TestGarbageKeepsWhatIsThere(t *testing.T) {
	l := newLAN(t)
	l.configure("  eth0:\n    addresses: [10.77.0.20/24]\n    routes: [{to: default, via: 10.77.0.1}]\n")
	l.startService("eth0")
	l.eventually("everything", 5*time.Second, func() bool { return l.has("addr", "inet 10.77.0.20/24") && l.has("route", "default") })
	l.service.Stop()
	l.write("etc/kios/network.yaml", "interfaces: {eth0: {addresses: [10.77.0.20/24}}\n")
	lab.Must(t, os.RemoveAll(l.path("last"))) // and nobody knows what it said before
	l.startDNSMasq()
	l.startService("eth0")
	l.eventually("an address by DHCP as well", 5*time.Second, func() bool { return strings.Contains(l.address(), "dynamic") })
	if !l.has("addr", "inet 10.77.0.20/24") || !l.has("route", "default via 10.77.0.1 dev eth0 proto 75") {
		t.Error("what was there is gone")
	}
	l.write("etc/kios/network.yaml", "")
	l.eventually("the end of what is not in the file", 5*time.Second, func() bool {
		return !l.has("addr", "inet 10.77.0.20/24") && !l.has("route", "proto 75") && l.hasAddress()
	})
}

// After a reboot with a file that makes no sense, the one before counts.
func TestLastUsableFile(t *testing.T) {
	l := newLAN(t)
	l.configure("  eth0:\n    addresses: [10.77.0.20/24]\n    routes: [{to: default, via: 10.77.0.1}]\n")
	l.startService("eth0")
	l.eventually("everything", 5*time.Second, func() bool { return l.has("addr", "inet 10.77.0.20/24") && l.has("route", "default") })
	l.service.Stop()
	l.ip("addr", "flush", "dev", "eth0")
	lab.Must(t, os.RemoveAll(l.path("state")))
	l.write("etc/kios/network.yaml", "interfaces: {eth0: {addresses: [10.77.0.20/24}}\n")
	l.startService("eth0")
	l.eventually("everything again", 5*time.Second, func() bool { return l.has("addr", "inet 10.77.0.20/24") && l.has("route", "default") })
	l.expect("the log", l.service.String(), "cannot be used: what it said when it last could be counts until then")
	l.configure("  eth0: {addresses: [10.77.0.21/24]}\n")
	l.eventually("the file, mended", 5*time.Second, func() bool { return l.has("addr", "inet 10.77.0.21/24") && !l.has("addr", "10.77.0.20") })
	// Nor does one that cannot be read take anything away.
	l.service.Stop()
	lab.Must(t, os.Remove(l.path("etc/kios/network.yaml")))
	lab.Must(t, os.Mkdir(l.path("etc/kios/network.yaml"), 0o755))
	l.startService("eth0")
	l.eventually("a line about it", 5*time.Second, l.logged("cannot be used: what it said when it last could be counts until then"))
	l.expect("the address", l.ip("addr", "show", "eth0"), "inet 10.77.0.21/24")
}

// Without the bond, the node must still have a network.
func TestBondCannotBeMade(t *testing.T) {
	l := newLAN(t)
	l.cable("srv2", "10.78.0.1/24", "bond0")
	l.startDNSMasq()
	l.configure("  bond0: {bond: {members: [eth0]}, addresses: [10.79.0.20/24]}\n")
	l.startService("eth0")
	l.eventually("the member by DHCP", 5*time.Second, l.hasAddress)
	l.expect("the log", l.service.String(), "bond0: there is an interface of that name already, of type veth")
	if l.has("addr show bond0", "10.79.0.20") {
		t.Error("the other interface has got the bond's address")
	}
}

func TestBadEntries(t *testing.T) {
	l := newLAN(t)
	l.cable("srv2", "10.78.0.1/24", "eth1")
	l.startDNSMasq()
	l.configure("  eth0: {adresses: [10.77.0.20/24]}\n  eth1: {addresses: [10.78.0.20/24]}\n  eth2: {mtu: 1}\n")
	l.startService("eth0", "eth1")
	l.eventually("eth0 by DHCP", 5*time.Second, l.hasAddress)
	if l.has("addr show eth0", "10.77.0.20") || !l.has("addr show eth1", "10.78.0.20/24") {
		t.Error("the entries were not told apart")
	}
	l.expect("the log", l.service.String(), `network.yaml: interfaces.eth0: there is no field "adresses"`)
	l.expect("the log", l.service.String(), "network.yaml: interfaces.eth2.mtu: 1 is not between 576 and 65535")
	l.configure("  eth0: {addresses: [10.77.0.20/24]}\n  eth1: {addresses: [10.78.0.20]}\n")
	l.eventually("eth0 static", 5*time.Second, func() bool { return l.has("addr show eth0", "10.77.0.20/24") })
	l.eventually("the complaint", 5*time.Second, l.logged(`network.yaml: interfaces.eth1.addresses[0]: "10.78.0.20" has no prefix length`))
	l.eventually("eth1 without the address", 5*time.Second, func() bool { return !l.has("addr show eth1", "10.78.0.20") })
}

func TestFoundByMAC(t *testing.T) {
	l := newLAN(t)
	l.configure("  uplink:\n    mac: 52:54:00:12:34:56\n    addresses: [10.77.0.20/24]\n")
	l.startService()
	l.eventually("a line about it", 5*time.Second, l.logged("uplink: there is no such interface"))
	l.ip("link", "set", "eth0", "address", "52:54:00:12:34:56")
	l.eventually("the address", 5*time.Second, func() bool { return l.has("addr show eth0", "inet 10.77.0.20/24") })
}

// With dhcp4: true there are both, and the end of a lease takes nothing of the
// file with it.
func TestStaticAndDHCP(t *testing.T) {
	l := newLAN(t)
	server := l.startUDHCPD()
	l.configure("  eth0:\n    addresses: [10.77.0.20/24]\n    dhcp4: true\n    routes: [{to: 172.20.0.0/16, via: 10.77.0.1}]\n    dns: [192.0.2.1]\n")
	l.startService("eth0")
	l.eventually("both addresses", 5*time.Second, func() bool { return l.has("addr show eth0", "inet 10.77.0.20/24", "inet 10.77.0.1", "dynamic eth0") })
	l.eventually("both routes", 5*time.Second, func() bool {
		return l.has("-4 route", "default via 10.77.0.1 dev eth0 proto dhcp", "172.20.0.0/16 via 10.77.0.1 dev eth0 proto 75")
	})
	l.expect("resolv.conf", l.resolver(), resolvconf.Marker+"\nnameserver 192.0.2.1\n")
	server.Stop()
	// Another address in the file takes the leased one of its subnet with it,
	// which comes back without the server.
	l.configure("  eth0:\n    addresses: [10.77.0.21/24]\n    dhcp4: true\n    routes: [{to: 172.20.0.0/16, via: 10.77.0.1}]\n")
	l.eventually("the other address and the leased one", 5*time.Second, func() bool {
		return l.has("addr show eth0", "inet 10.77.0.21/24", "inet 10.77.0.1", "dynamic eth0") && !l.has("addr show eth0", "inet 10.77.0.20/24") &&
			l.has("-4 route", "default via 10.77.0.1 dev eth0 proto dhcp")
	})
	l.eventually("the end of the lease", 25*time.Second, l.logged("the lease expired"))
	l.eventually("what is in the file", 5*time.Second, func() bool {
		return strings.Count(l.address(), "inet ") == 1 && l.has("addr show eth0", "inet 10.77.0.21/24") &&
			l.has("-4 route", "172.20.0.0/16 via 10.77.0.1") && !l.has("-4 route", "default")
	})
}

// A leased address that the file now has as well becomes one without an end.
func TestLeasedAddressBecomesStatic(t *testing.T) {
	l := newLAN(t)
	l.startDNSMasq("--dhcp-range=10.77.0.20,10.77.0.20,255.255.255.0,2m")
	l.startService("eth0")
	l.eventually("an address", 5*time.Second, l.hasAddress)
	address, _, _ := strings.Cut(strings.SplitAfter(l.address(), "inet ")[1], " ")
	l.configure("  eth0: {addresses: [" + address + "]}\n")
	l.eventually("the same, static", 5*time.Second, func() bool {
		return l.has("addr show eth0", "inet "+address, "valid_lft forever") && !strings.Contains(l.address(), "dynamic") && !l.has("-4 route", "proto dhcp")
	})
	l.configure("  eth0: {dhcp4: false}\n")
	l.eventually("no address", 5*time.Second, func() bool { return !l.hasAddress() })
}

func TestInterfaceOfTheFileComesLate(t *testing.T) {
	l := newLAN(t)
	l.configure("  eth7: {addresses: [10.79.0.20/24]}\n")
	l.startService("eth0")
	l.eventually("a line about it", 5*time.Second, l.logged("eth7: there is no such interface; its entry counts when it appears"))
	l.cable("srv7", "10.79.0.1/24", "eth7")
	l.eventually("its address", 5*time.Second, func() bool { return l.has("addr show eth7", "inet 10.79.0.20/24") })
}
