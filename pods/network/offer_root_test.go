//go:build root

package network

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kios/internal/control"
	"kios/pods/network/resolvconf"
	"kios/test/lab"
)

func (l *lan) mac() string {
	_, rest, _ := strings.Cut(l.ip("link", "show", "eth0"), "link/ether ")
	mac, _, _ := strings.Cut(rest, " ")
	return mac
}

// pid1 takes offered names as PID 1 does.
type pid1 struct {
	refuse error
	mu     sync.Mutex
	asked  []string
}

func (p *pid1) handle(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, name)
	return p.refuse
}

func (p *pid1) requests() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.asked, " ")
}

func (l *lan) startPID1(refuse error) *pid1 {
	l.t.Helper()
	p := &pid1{refuse: refuse}
	s, err := control.Listen(l.path("control"), p.handle)
	lab.Must(l.t, err)
	l.t.Cleanup(func() { s.Close() })
	go s.Run(l.t.Logf)
	return p
}

func TestOffers(t *testing.T) {
	l := newLAN(t)
	l.startDNSMasq("--dhcp-option=42,10.77.0.3,10.77.0.4", "--dhcp-host="+l.mac()+",node-7", "--dhcp-option=58,5", "--dhcp-option=59,90")
	l.startService("eth0")
	l.eventually("NTP servers", 5*time.Second, func() bool { return l.read("state/ntp") == "10.77.0.3\n10.77.0.4\n" })
	l.eventually("the hostname", 5*time.Second, func() bool { return l.read("state/hostname") == "node-7\n" })
	// PID 1 listens only now: there is a next try.
	p := l.startPID1(nil)
	l.eventually("the request", 10*time.Second, func() bool { return p.requests() == "node-7" })
	l.eventually("a line about it", 5*time.Second, l.logged("the network offers the hostname node-7, and the node takes it"))
	l.eventually("a renewal", 15*time.Second, l.logged("extended by"))
	if got := p.requests(); got != "node-7" {
		t.Errorf("PID 1 was asked for %s: each name is to be told once", got)
	}
	l.configure("  eth0: {addresses: [10.77.0.20/24], ntp: [ntp.example]}\n")
	l.eventually("the file's servers only", 5*time.Second, func() bool { return l.read("state/ntp") == "ntp.example\n" })
	l.configure("  eth0: {addresses: [10.77.0.20/24]}\n")
	l.eventually("no files", 5*time.Second, func() bool { return l.read("state/ntp")+l.read("state/hostname") == "" })
}

// What PID 1 refuses is said once, and not asked for again.
func TestHostnameIsRefused(t *testing.T) {
	l := newLAN(t)
	p := l.startPID1(errors.New("/etc/hostname names the node"))
	l.startDNSMasq("--dhcp-host="+l.mac()+",node-7", "--dhcp-option=58,5", "--dhcp-option=59,90")
	l.startService("eth0")
	l.eventually("the offer", 5*time.Second, func() bool { return l.read("state/hostname") == "node-7\n" })
	l.eventually("a line about it", 5*time.Second, l.logged("the node does not take it: /etc/hostname names the node"))
	l.eventually("a renewal", 15*time.Second, l.logged("extended by"))
	if got := p.requests(); got != "node-7" {
		t.Errorf("PID 1 was asked for %s", got)
	}
}

// A link that is full in both directions loses packets, DHCP's as well.
func TestRenewedUnderLoad(t *testing.T) {
	l := newLAN(t)
	l.startUDHCPD()
	l.startService("eth0")
	l.eventually("an address", 10*time.Second, l.hasAddress)
	before := l.address()
	address := strings.Fields(before[strings.Index(before, "inet "):])[1]
	address, _, _ = strings.Cut(address, "/")
	for ns, to := range map[string]string{l.server: address, l.node: "10.77.0.1"} {
		l.flood(ns, to+":9")
	}
	l.eventually("two renewals", 35*time.Second, func() bool { return strings.Count(l.service.String(), "extended by 20s") >= 2 })
	if !strings.Contains(l.address(), "inet "+address) {
		t.Errorf("the address was %s and is %s", address, l.address())
	}
	received := l.run("ip", "-n", l.node, "-s", "link", "show", "eth0")
	t.Logf("traffic:\n%s", received)
}

func (l *lan) flood(ns, to string) {
	cmd := exec.Command("ip", "netns", "exec", ns, os.Args[0])
	cmd.Env = append(os.Environ(), floodVariable+"="+to)
	lab.Must(l.t, cmd.Start())
	l.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	})
}

// Servers come by DHCPv4, DHCPv6 and router advertisements, and three are
// written.
func TestDHCPv6AndRouterAdvertisements(t *testing.T) {
	l := newLAN(t)
	l.run("ip", "-n", l.server, "addr", "add", "2001:db8:77::1/64", "dev", "srv", "nodad")
	l.startDNSMasq("--enable-ra", "--dhcp-range=2001:db8:77::100,2001:db8:77::1ff,64,2m", "--dhcp-option=6,10.77.0.1,10.77.0.2,10.77.0.3",
		"--dhcp-option=option6:dns-server,[2001:db8:77::53]", "--dhcp-option=option6:ntp-server,[2001:db8:77::123]", "--dhcp-option=42,10.77.0.4",
		"--dhcp-option=option6:domain-search,six.example")
	l.startService("eth0")
	leased := func() bool { return l.has("-6 addr show eth0", "inet6 2001:db8:77::1", "/128 scope global dynamic") }
	l.eventually("an address by DHCPv6", 15*time.Second, leased)
	l.eventually("an address by DHCPv4", 5*time.Second, l.hasAddress)
	l.eventually("servers of both families", 5*time.Second, func() bool {
		return l.resolver() == resolvconf.Marker+"\nsearch six.example\nnameserver 10.77.0.1\nnameserver 10.77.0.2\nnameserver 2001:db8:77::53\n"
	})
	l.eventually("NTP servers", 5*time.Second, func() bool { return l.read("state/ntp") == "10.77.0.4\n2001:db8:77::123\n" })
	before := l.resolver()
	l.service.Stop()
	if !leased() {
		t.Error("the end of the program took the address")
	}
	changes := l.watch("eth0")
	l.startService("eth0")
	l.eventually("both leases again", 10*time.Second, func() bool {
		return l.logged("extended by 2m0s")() && l.logged("still fits the link")()
	})
	if after := l.resolver(); after != before {
		t.Errorf("resolv.conf after a restart:\n%sbefore:\n%s", after, before)
	}
	if what := changes(); strings.Contains(what, "Deleted") {
		t.Errorf("the restart removed addresses:\n%s", what)
	}
	l.configure("  eth0: {addresses: [2001:db8:77::20/64]}\n")
	l.eventually("no lease of either kind", 5*time.Second, func() bool { return !leased() && !l.hasAddress() })
}

func TestIPv6Only(t *testing.T) {
	l := newLAN(t)
	l.run("ip", "-n", l.server, "addr", "add", "2001:db8:77::1/64", "dev", "srv", "nodad")
	l.start(l.server, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null", "--user=root", "--port=0", "--pid-file=",
		"--dhcp-leasefile="+l.path("dnsmasq.leases"), "--enable-ra", "--dhcp-range=2001:db8:77::,ra-stateless,64", "--dhcp-option=option6:dns-server,[2001:db8:77::53]",
		"--dhcp-option=option6:ntp-server,[2001:db8:77::123]")
	l.startService("eth0")
	l.eventually("an address, a route and a server", 10*time.Second, func() bool {
		return l.has("-6 addr show eth0", "inet6 2001:db8:77:", "/64 scope global dynamic") && l.has("-6 route", "default via fe80:") &&
			l.resolver() == resolvconf.Marker+"\nnameserver 2001:db8:77::53\n"
	})
	l.eventually("an NTP server by DHCPv6", 10*time.Second, func() bool { return l.read("state/ntp") == "2001:db8:77::123\n" })
	if l.has("-6 addr show eth0", "/128") {
		t.Error("an address was leased, but the router did not say that there are any")
	}
	l.configure("  eth0: {ra: false}\n")
	l.eventually("no router's servers", 5*time.Second, func() bool {
		return strings.TrimSpace(l.run("ip", "netns", "exec", l.node, "cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra")) == "0"
	})
}
