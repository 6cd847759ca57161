//go:build root

// These tests run the client against real servers, dnsmasq and ISC's dhcpd, on a
// pair of network namespaces joined by a cable, without any IPv4. They take root
// and Debian's dnsmasq-base, isc-dhcp-server, iproute2 and iputils-ping:
//
//	go test -tags root ./pods/network/dhcp6

package dhcp6

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kios/internal/boottime"
	"kios/pods/network/lease"
	"kios/test/lab"
	"kios/test/lab/netns"
)

// In the environment they make this program a client on eth0: a namespace is
// entered by a whole process, or else goroutines stray.
const (
	modeEnv  = "KIOS_TEST_DHCP6"       // stateful or stateless
	stateEnv = "KIOS_TEST_DHCP6_STATE" // a file with the lease
)

func TestMain(m *testing.M) {
	mode := os.Getenv(modeEnv)
	if mode == "" {
		os.Exit(m.Run())
	}
	if err := runClient(mode == "stateful", os.Getenv(stateEnv)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func runClient(stateful bool, state string) error {
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	var resume *Lease
	if text, err := os.ReadFile(state); err == nil {
		if err := json.Unmarshal(text, &resume); err != nil {
			return err
		}
	}
	link, err := watchCarrier(eth0.Attrs().Index)
	if err != nil {
		return err
	}
	return Run(context.Background(), Config{
		Identity: Identity{
			DUID:     DUIDFromMachineID("b09d3b1e4e0f4a5d8c7f00112233aabb"),
			IAID:     [4]byte{1, 2, 3, 4},
			Name:     "eth0",
			Stateful: stateful,
		},
		Index:   eth0.Attrs().Index,
		Resume:  resume,
		Link:    link,
		Outside: &node{eth0, state},
		Log:     func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
	})
}

func watchCarrier(index int) (<-chan bool, error) {
	updates, carrier := make(chan netlink.LinkUpdate), make(chan bool)
	err := netlink.LinkSubscribeWithOptions(updates, nil, netlink.LinkSubscribeOptions{ListExisting: true})
	go func() {
		for u := range updates {
			if u.Attrs().Index == index {
				carrier <- u.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
			}
		}
	}()
	return carrier, err
}

// node uses a lease on its interface, and keeps it in a file.
type node struct {
	eth0  netlink.Link
	state string
}

func (n *node) Apply(l, old *Lease) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := os.WriteFile(n.state, text, 0o644); err != nil {
		return err
	}
	if old != nil {
		for _, a := range old.Addresses {
			if !slices.Contains(l.addrs(), a.Addr) {
				removeAddress(n.eth0, a)
			}
		}
	}
	return addAddresses(n.eth0, l)
}

func (n *node) Drop(l *Lease) {
	for _, a := range l.Addresses {
		removeAddress(n.eth0, a)
	}
	os.Remove(n.state)
}

func addAddresses(eth0 netlink.Link, l *Lease) error {
	now := boottime.Now()
	for _, a := range l.Addresses {
		err := netlink.AddrReplace(eth0, &netlink.Addr{
			IPNet:       host(a),
			PreferedLft: int((a.Preferred - now + time.Second - 1) / time.Second),
			ValidLft:    int((a.Valid - now + time.Second - 1) / time.Second),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func removeAddress(eth0 netlink.Link, a Address) {
	_ = netlink.AddrDel(eth0, &netlink.Addr{IPNet: host(a)}) // the kernel may have been first
}

func host(a Address) *net.IPNet {
	return &net.IPNet{IP: a.Addr.AsSlice(), Mask: net.CIDRMask(128, 128)}
}

// lan is a network with a server's end, fd77::1/64 on the interface "srv", and
// a node's end, the interface "eth0", which is down.
type lan struct {
	t            *testing.T
	dir          string
	server, node string // names of the namespaces
	client       *netns.Process
}

func newLAN(t *testing.T) *lan {
	lab.NeedRoot(t)
	t.Parallel()
	name := fmt.Sprintf("kios-d6-%d-%s", os.Getpid(), strings.ToLower(strings.TrimPrefix(t.Name(), "Test")))
	l := &lan{t: t, dir: t.TempDir(), server: name + "-s", node: name + "-n"}
	for _, ns := range []string{l.server, l.node} {
		l.run("ip", "netns", "add", ns)
		t.Cleanup(func() { l.run("ip", "netns", "del", ns) })
	}
	l.run("ip", "link", "add", "srv", "netns", l.server, "type", "veth", "peer", "name", "eth0", "netns", l.node)
	l.sysctl(l.server, "srv/accept_dad", "0")
	l.sysctl(l.node, "all/forwarding", "1") // as on a node
	l.sysctl(l.node, "eth0/accept_ra", "2")
	l.run("ip", "-n", l.server, "link", "set", "srv", "up")
	l.number("fd77::1/64")
	return l
}

// number gives the server's end an address in place of others.
func (l *lan) number(address string) {
	l.t.Helper()
	l.run("ip", "-n", l.server, "-6", "addr", "flush", "dev", "srv", "scope", "global")
	l.run("ip", "-n", l.server, "addr", "add", address, "dev", "srv", "nodad")
}

func (l *lan) sysctl(ns, key, value string) {
	l.t.Helper()
	l.run("ip", "netns", "exec", ns, "sh", "-c", "echo "+value+" > /proc/sys/net/ipv6/conf/"+key)
}

func (l *lan) run(name string, args ...string) string {
	l.t.Helper()
	return lab.Run(l.t, name, args...)
}

func (l *lan) up() { l.run("ip", "-n", l.node, "link", "set", "eth0", "up") }

// addresses returns what "ip addr" says about the node's leased addresses.
func (l *lan) addresses() string {
	return l.run("ip", "-n", l.node, "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global", "-tentative")
}

func (l *lan) has(address string) func() bool {
	return func() bool { return strings.Contains(l.addresses(), "inet6 "+address) }
}

// cut takes the carrier away. The kernel tells of that with some delay, and not
// at all if the carrier is back before.
func (l *lan) cut() {
	l.t.Helper()
	l.run("ip", "-n", l.server, "link", "set", "srv", "down")
	l.eventually("loss of the carrier", 5*time.Second, func() bool {
		return strings.Contains(l.run("ip", "-n", l.node, "link", "show", "eth0"), "DOWN ")
	})
}

func (l *lan) start(ns string, env []string, args ...string) *netns.Process {
	l.t.Helper()
	return netns.Start(l.t, ns, env, args...)
}

func (l *lan) startClient(mode string) {
	l.t.Helper()
	self, err := os.Executable()
	lab.Must(l.t, err)
	l.client = l.start(l.node, []string{modeEnv + "=" + mode, stateEnv + "=" + l.state()}, self)
}

func (l *lan) state() string { return filepath.Join(l.dir, "lease.json") }

func (l *lan) lease() *Lease {
	l.t.Helper()
	text, err := os.ReadFile(l.state())
	lab.Must(l.t, err)
	var kept Lease
	lab.Must(l.t, json.Unmarshal(text, &kept))
	return &kept
}

// dnsmasq advertises the prefix and serves leases of two minutes, its shortest.
func (l *lan) dnsmasq(options ...string) *netns.Process {
	args := []string{"dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null",
		"--user=root", "--port=0", "--pid-file=", "--dhcp-leasefile=" + filepath.Join(l.dir, "dnsmasq.leases"), "--enable-ra",
		"--dhcp-option=option6:dns-server,[fd77::53]", "--dhcp-option=option6:domain-search,a.example",
		"--dhcp-option=option6:ntp-server,[fd77::7b]"}
	return l.start(l.server, nil, append(args, options...)...)
}

// dhcpd serves leases of some seconds from the prefix. It does rapid commit if
// options say so.
func (l *lan) dhcpd(prefix string, seconds int, options string) *netns.Process {
	l.t.Helper()
	conf, leases := filepath.Join(l.dir, "dhcpd.conf"), filepath.Join(l.dir, "dhcpd.leases")
	text := fmt.Sprintf("default-lease-time %d;\npreferred-lifetime %[1]d;\nmax-lease-time %[1]d;\nauthoritative;\n", seconds) +
		"option dhcp6.name-servers fd77::53;\n" + options +
		"subnet6 " + prefix + "/64 { range6 " + prefix + "100 " + prefix + "1ff; }\n"
	lab.WriteFile(l.t, conf, text)
	f, err := os.OpenFile(leases, os.O_CREATE, 0o644)
	lab.Must(l.t, err)
	f.Close()
	return l.start(l.server, nil, "dhcpd", "-6", "-d", "-cf", conf, "-lf", leases, "-pf", filepath.Join(l.dir, "dhcpd.pid"), "srv")
}

func (l *lan) eventually(what string, within time.Duration, ok func() bool) {
	l.t.Helper()
	// Namespaces are slow to come and go where several tests make them, and the next
	// try of a client comes seconds after one that was lost meanwhile.
	within *= 4
	for deadline := time.Now().Add(within); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("not within %s: %s\n%s", within, what, l.addresses())
		}
	}
}

func (l *lan) logged(text string) func() bool { return l.says(l.client, text) }

func (l *lan) says(p *netns.Process, text string) func() bool {
	return func() bool { return strings.Contains(p.String(), text) }
}

func TestStatefulDNSMasq(t *testing.T) {
	l := newLAN(t)
	server := l.dnsmasq("--dhcp-range=fd77::100,fd77::1ff,64,2m")
	l.startClient("stateful")
	l.up()
	l.eventually("an address", 5*time.Second, l.has("fd77::1"))
	if got := l.addresses(); !strings.Contains(got, "/128 ") {
		t.Errorf("the address is not a /128:\n%s", got)
	}
	got := l.lease()
	if fmt.Sprint(got.DNS, got.Search, got.NTP) != "[fd77::53] [a.example] [fd77::7b]" {
		t.Errorf("DNS, search and NTP = %v %v %v", got.DNS, got.Search, got.NTP)
	}
	if strings.Contains(server.String(), "DHCPREQUEST") {
		t.Errorf("rapid commit was not used:\n%s", server)
	}
	// From the leased address, by the prefix that the router advertises.
	l.eventually("an answer to a ping", 5*time.Second, func() bool {
		return exec.Command("ip", "netns", "exec", l.node, "ping", "-c1", "-W1", "-I", got.Addresses[0].Addr.String(), "fd77::1").Run() == nil
	})
}

func TestStatelessDNSMasq(t *testing.T) {
	l := newLAN(t)
	l.dnsmasq("--dhcp-range=fd77::,ra-stateless,64")
	l.startClient("stateless")
	l.up()
	l.eventually("an answer", 5*time.Second, l.logged("DNS fd77::53"))
	answer := l.lease()
	if fmt.Sprint(answer.Addresses, answer.DNS, answer.Search, answer.NTP) != "[] [fd77::53] [a.example] [fd77::7b]" {
		t.Errorf("the lease brings %v %v %v %v", answer.Addresses, answer.DNS, answer.Search, answer.NTP)
	}
	if answer.Expiry != lease.Forever || answer.Renew < boottime.Now()+10*time.Minute {
		t.Errorf("Renew, Expiry = %s, %s", answer.Renew, answer.Expiry)
	}
}

// A lease of ten seconds is renewed; without a server it expires; when the
// server is back, so is the address.
func TestServerGoneAndBack(t *testing.T) {
	l := newLAN(t)
	server := l.dhcpd("fd77::", 10, "option dhcp6.rapid-commit;\n")
	l.startClient("stateful")
	l.up()
	l.eventually("an address", 5*time.Second, l.has("fd77::1"))
	l.eventually("a renewal", 8*time.Second, l.logged("extended by 10s"))
	server.Stop()
	l.eventually("expiry", 15*time.Second, func() bool { return !l.has("fd77::1")() })
	l.eventually("a line about it", 5*time.Second, l.logged("the lease expired"))
	l.dhcpd("fd77::", 10, "option dhcp6.rapid-commit;\n")
	l.eventually("an address", 10*time.Second, l.has("fd77::1"))
}

func TestWithoutRapidCommit(t *testing.T) {
	l := newLAN(t)
	server := l.dhcpd("fd77::", 60, "")
	l.startClient("stateful")
	l.up()
	l.eventually("an address", 5*time.Second, l.has("fd77::1"))
	if !l.says(server, "Request message from")() {
		t.Errorf("the server saw no request:\n%s", server)
	}
}

func TestCableReturns(t *testing.T) {
	l := newLAN(t)
	server := l.dhcpd("fd77::", 60, "")
	l.startClient("stateful")
	l.up()
	l.eventually("an address", 5*time.Second, l.has("fd77::1"))
	l.cut()
	l.run("ip", "-n", l.server, "link", "set", "srv", "up")
	l.number("fd77::1/64")
	l.eventually("confirmation", 5*time.Second, l.logged("still fits the link"))
	if !l.has("fd77::1")() {
		t.Errorf("the address is gone:\n%s", l.addresses())
	}

	// The same cable, but another network.
	l.cut()
	server.Stop()
	l.number("fd78::1/64")
	l.run("ip", "-n", l.server, "link", "set", "srv", "up")
	l.number("fd78::1/64")
	l.dhcpd("fd78::", 60, "")
	l.eventually("an address of the new network", 10*time.Second, l.has("fd78::1"))
	// A server that is slow to start misses the question, and does away with the address when
	// the client renews it.
	if !l.logged("NotOnLink")() && !l.logged("nobody answers about fd77::")() || l.has("fd77::")() {
		t.Errorf("the old address is still there:\n%s", l.addresses())
	}
}

func TestRestart(t *testing.T) {
	l := newLAN(t)
	l.dnsmasq("--dhcp-range=fd77::100,fd77::1ff,64,2m")
	l.startClient("stateful")
	l.up()
	l.eventually("an address", 5*time.Second, l.has("fd77::1"))
	before := l.lease()
	l.client.Stop()
	if !l.has("fd77::1")() {
		t.Fatal("the address went with the client")
	}
	l.startClient("stateful")
	l.eventually("confirmation", 5*time.Second, l.logged("still fits the link"))
	after := l.lease()
	if before.Addresses[0] != after.Addresses[0] || !slices.Equal(after.DNS, before.DNS) {
		t.Errorf("after a restart the lease is %+v, before %+v", after, before)
	}
}

// Another machine has the address that the server gives.
func TestDuplicateAddress(t *testing.T) {
	l := newLAN(t)
	server := l.dhcpd("fd77::", 60, "option dhcp6.rapid-commit;\n")
	l.startClient("stateful")
	l.up()
	l.eventually("an address", 5*time.Second, l.has("fd77::1"))
	taken := l.lease().Addresses[0].Addr
	l.client.Stop()
	l.run("ip", "-n", l.node, "addr", "del", taken.String()+"/128", "dev", "eth0")
	l.run("ip", "-n", l.server, "addr", "add", taken.String()+"/128", "dev", "srv", "nodad")
	lab.Must(t, os.Remove(l.state()))
	l.startClient("stateful")
	l.eventually("the duplicate", 5*time.Second, l.logged("another machine on the link has "+taken.String()))
	l.eventually("a message to the server", 5*time.Second, l.says(server, "Decline message from"))
	l.eventually("another address", 10*time.Second, l.has("fd77::1"))
	if got := l.lease().Addresses[0].Addr; got == taken || got == (netip.Addr{}) {
		t.Errorf("the new address is %s", got)
	}
}

// The node's own address cannot be used while it is tentative.
func TestWaitsForLinkLocalAddress(t *testing.T) {
	l := newLAN(t)
	server := l.dhcpd("fd77::", 60, "option dhcp6.rapid-commit;\n")
	l.eventually("a server", 5*time.Second, l.says(server, "Server starting service"))
	l.startClient("stateful")
	l.up()
	l.eventually("an address", 5*time.Second, l.has("fd77::1"))
	if got := strings.Count(server.String(), "Solicit message from"); got != 1 {
		t.Errorf("the server was asked %d times, want once:\n%s\n%s", got, l.client, server)
	}
	if log := l.client.String(); strings.Contains(log, "open UDP") || strings.Contains(log, "send ") {
		t.Errorf("it did not wait:\n%s", log)
	}
}
