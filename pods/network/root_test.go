//go:build root

// These tests run the real program against real DHCP servers, dnsmasq and
// udhcpd, on a pair of network namespaces joined by a cable. They take root and
// Debian's dnsmasq-base, udhcpd, busybox and iproute2. VLANs and bonds are tested
// in a virtual machine (virtual_guest_test.go), because not every kernel has them.
//
//	go test -tags root ./pods/network

package network

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kios/pods/network/resolvconf"
	"kios/test/lab"
	"kios/test/lab/netns"
)

var program string // the built pods/system

// floodVariable makes the test program flood the address in it instead.
const floodVariable = "KIOS_NETNS_FLOOD"

func TestMain(m *testing.M) {
	if to := os.Getenv(floodVariable); to != "" {
		flood(to)
	}
	// They wait most of the time.
	flag.Parse()
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "kios-netns-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "system")
	if out, err := exec.Command("go", "build", "-o", program, "kios/pods/system").CombinedOutput(); err != nil {
		fmt.Printf("build pods/system: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// flood sends packets as fast as it can until it is killed.
func flood(to string) {
	conn, err := net.Dial("udp", to)
	if err != nil {
		panic(err)
	}
	packet := make([]byte, 1400)
	for {
		_, _ = conn.Write(packet) // nobody listens, and that comes back as an error
	}
}

// lan is a network with a server's end, which has 10.77.0.1/24 on the interface
// "srv", and a node's end, which has nothing on the interface "eth0".
type lan struct {
	t            *testing.T
	dir          string
	server, node string // names of the namespaces
	service      *netns.Process
	args         []string // more arguments of the service
}

func newLAN(t *testing.T) *lan {
	lab.NeedRoot(t)
	t.Parallel()
	name := fmt.Sprintf("kios-%d-%s", os.Getpid(), strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")))
	l := &lan{t: t, dir: t.TempDir(), server: name + "-s", node: name + "-n"}
	for _, ns := range []string{l.server, l.node} {
		l.run("ip", "netns", "add", ns)
		t.Cleanup(func() { l.run("ip", "netns", "del", ns) })
	}
	l.cable("srv", "10.77.0.1/24", "eth0")
	return l
}

func (l *lan) cable(server, address, node string) {
	l.run("ip", "link", "add", server, "netns", l.server, "type", "veth", "peer", "name", node, "netns", l.node)
	l.run("ip", "-n", l.server, "addr", "add", address, "dev", server)
	l.run("ip", "-n", l.server, "link", "set", server, "up")
}

func (l *lan) run(name string, args ...string) string {
	l.t.Helper()
	return lab.Run(l.t, name, args...)
}

// address returns what "ip addr" says about the node's IPv4 addresses.
func (l *lan) address() string { return l.run("ip", "-n", l.node, "-4", "addr", "show", "dev", "eth0") }

func (l *lan) routes() string { return l.run("ip", "-n", l.node, "-4", "route") }

// ip runs the program ip in the node's namespace.
func (l *lan) ip(args ...string) string {
	l.t.Helper()
	return l.run("ip", append([]string{"-n", l.node}, args...)...)
}

func (l *lan) path(name string) string { return filepath.Join(l.dir, name) }

// write replaces a file as an editor does.
func (l *lan) write(name, content string) {
	l.t.Helper()
	lab.Must(l.t, replace(l.path(name), []byte(content)))
}

func (l *lan) read(name string) string {
	content, _ := os.ReadFile(l.path(name))
	return string(content)
}

// configure writes the interfaces of network.yaml.
func (l *lan) configure(interfaces string) {
	l.t.Helper()
	l.write("etc/kios/network.yaml", "interfaces:\n"+interfaces)
}

func (l *lan) resolver() string {
	return l.read("state/resolv.conf")
}

func (l *lan) start(ns string, args ...string) *netns.Process {
	l.t.Helper()
	return netns.Start(l.t, ns, nil, args...)
}

func (l *lan) startService(interfaces ...string) {
	args := []string{program, "network", "-state", l.path("state"), "-last", l.path("last"),
		"-config", l.path("etc/kios/network.yaml"),
		"-machine-id", l.path("etc/machine-id"), "-control", l.path("control")}
	l.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	args = append(args, l.args...)
	for _, name := range interfaces {
		args = append(args, "-interface", name)
	}
	l.service = l.start(l.node, args...)
}

// startDNSMasq serves leases of two minutes, its shortest.
func (l *lan) startDNSMasq(options ...string) *netns.Process {
	return l.startDNSMasqFor("10.77.0.50,10.77.0.99,255.255.255.0,2m", options...)
}

func (l *lan) startDNSMasqFor(addresses string, options ...string) *netns.Process {
	args := []string{"dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null",
		"--user=root", "--port=0", "--pid-file=", "--no-ping", "--dhcp-leasefile=" + filepath.Join(l.dir, "dnsmasq.leases"),
		"--dhcp-range=" + addresses}
	return l.start(l.server, append(args, options...)...)
}

// startUDHCPD serves leases of 20 seconds.
func (l *lan) startUDHCPD() *netns.Process {
	conf := filepath.Join(l.dir, "udhcpd.conf")
	leases := filepath.Join(l.dir, "udhcpd.leases")
	text := "start 10.77.0.100\nend 10.77.0.110\ninterface srv\nlease_file " + leases + "\npidfile " + conf + ".pid\n" +
		"min_lease 10\noption lease 20\noption subnet 255.255.255.0\noption router 10.77.0.1\noption dns 10.77.0.1\n"
	for path, content := range map[string]string{conf: text, leases: ""} {
		lab.WriteFile(l.t, path, content)
	}
	return l.start(l.server, "udhcpd", "-f", conf)
}

func (l *lan) eventually(what string, within time.Duration, ok func() bool) {
	l.t.Helper()
	// Namespaces are slow to come and go where several tests make them, and the next
	// try of a client comes seconds after one that was lost meanwhile.
	within *= 4
	for deadline := time.Now().Add(within); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("not within %s: %s\n%s%s%s", within, what, l.address(), l.routes(), l.resolver())
		}
	}
}

func (l *lan) expect(what, got, want string) {
	l.t.Helper()
	if !strings.Contains(got, want) {
		l.t.Errorf("%s does not contain %q:\n%s", what, want, got)
	}
}

func (l *lan) logged(text string) func() bool {
	return func() bool { return strings.Contains(l.service.String(), text) }
}

func (l *lan) hasAddress() bool { return strings.Contains(l.address(), "inet 10.77.0.") }

func TestLease(t *testing.T) {
	l := newLAN(t)
	l.startDNSMasq("--dhcp-option=6,10.77.0.1,10.77.0.2", "--dhcp-option=119,a.example,b.example", "--dhcp-option=26,1400",
		"--dhcp-option=58,5", "--dhcp-option=59,90")
	l.startService("eth0")
	l.eventually("an address", 5*time.Second, l.hasAddress)
	l.expect("the address", l.address(), " brd 10.77.0.255 scope global dynamic eth0")
	l.expect("the interface", l.address(), "mtu 1400")
	l.eventually("a default route", 5*time.Second, func() bool {
		return strings.Contains(l.routes(), "default via 10.77.0.1 dev eth0 proto dhcp src 10.77.0.")
	})
	l.eventually("resolv.conf", 5*time.Second, func() bool {
		return l.resolver() == resolvconf.Marker+"\nsearch a.example b.example\nnameserver 10.77.0.1\nnameserver 10.77.0.2\n"
	})
	l.eventually("two renewals", 15*time.Second, func() bool {
		return strings.Count(l.service.String(), "extended by 2m0s") >= 2
	})
	ra := l.run("ip", "netns", "exec", l.node, "cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra")
	l.expect("accept_ra", ra, "2")
}

// The file says what of a lease and of routers is used.
func TestIgnoredParts(t *testing.T) {
	l := newLAN(t)
	l.configure("  eth0: {ignore: [default-route, dns, ntp, hostname, mtu], metric: 77}\n")
	l.startDNSMasq("--dhcp-option=6,10.77.0.1", "--dhcp-option=26,1400", "--dhcp-option=42,10.77.0.3", "--dhcp-host="+l.mac()+",node-7",
		"--dhcp-option=121,10.8.0.0/16,10.77.0.1,0.0.0.0/0,10.77.0.1")
	l.startService()
	l.eventually("the route with its metric", 5*time.Second, func() bool { return l.has("-4 route", "10.8.0.0/16 via 10.77.0.1 dev eth0 proto dhcp", "metric 77") })
	if l.has("-4 route", "default") || l.has("link show eth0", "mtu 1400") || strings.Contains(l.resolver(), "nameserver") || l.read("state/ntp")+l.read("state/hostname") != "" {
		t.Errorf("what the file ignores is used:\n%s%s", l.routes(), l.resolver())
	}
	l.expectSysctls(map[string]string{"accept_ra": "2", "accept_ra_defrtr": "0", "accept_ra_mtu": "0", "ra_defrtr_metric": "77", "accept_ra_rt_info_max_plen": "128"})
	l.configure("  eth0: {ignore: [routes]}\n")
	l.eventually("no routes, but name servers", 5*time.Second, func() bool {
		return !l.has("-4 route", "proto dhcp") && strings.Contains(l.resolver(), "nameserver 10.77.0.1") && l.has("link show eth0", "mtu 1400")
	})
	l.expectSysctls(map[string]string{"accept_ra_defrtr": "0", "accept_ra_mtu": "1", "accept_ra_rt_info_max_plen": "0"})
	l.configure("  eth0: {}\n")
	l.eventually("the default route", 5*time.Second, func() bool { return l.has("-4 route", "default via 10.77.0.1 dev eth0 proto dhcp") })
	l.expectSysctls(map[string]string{"accept_ra_defrtr": "1", "ra_defrtr_metric": "1024", "accept_ra_rt_info_max_plen": "128"})
}

// expectSysctls demands settings of eth0, as far as this kernel has them.
func (l *lan) expectSysctls(want map[string]string) {
	l.t.Helper()
	for name, value := range want {
		path := "/proc/sys/net/ipv6/conf/eth0/" + name
		got := l.run("ip", "netns", "exec", l.node, "sh", "-c", "! test -e "+path+" || cat "+path)
		if got = strings.TrimSpace(got); got != "" && got != value {
			l.t.Errorf("%s = %s, want %s", name, got, value)
		}
	}
}

func TestClasslessRoutes(t *testing.T) {
	l := newLAN(t)
	l.startDNSMasq("--dhcp-option=3,10.77.0.9", "--dhcp-option=121,172.20.0.0/16,10.77.0.1,169.254.169.254/32,0.0.0.0,0.0.0.0/0,10.88.0.1")
	l.startService("eth0")
	l.eventually("the routes", 5*time.Second, func() bool { return strings.Count(l.routes(), "proto dhcp") == 3 })
	l.expect("routes", l.routes(), "default via 10.88.0.1 dev eth0 proto dhcp src 10.77.0.")
	l.expect("routes", l.routes(), "onlink")
	l.expect("routes", l.routes(), "172.20.0.0/16 via 10.77.0.1")
	l.expect("routes", l.routes(), "169.254.169.254 dev eth0 proto dhcp scope link")
}

// A lease is used as far as it can be. dnsmasq sends a gateway that is the node's
// own address, one that is the subnet's broadcast address, and an MTU that the
// interface, a VLAN-like one on a parent of 1500, does not take.
func TestLeaseWithPartsThatTheKernelRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		options []string
		routes  []string
		line    string
	}{
		"own address as gateway": {
			[]string{"--dhcp-option=3,10.77.0.50"},
			[]string{"default dev eth0 proto dhcp scope link src 10.77.0.50"}, "eth0: 10.77.0.50/24 from 10.77.0.1",
		},
		"broadcast as gateway": {
			[]string{"--dhcp-option=121,10.9.0.0/16,10.77.0.255,10.8.0.0/16,10.77.0.1,0.0.0.0/0,10.77.0.1"},
			[]string{"default via 10.77.0.1 dev eth0 proto dhcp", "10.8.0.0/16 via 10.77.0.1"}, "not all that DHCP says can be used: add route to 10.9.0.0/16 via 10.77.0.255",
		},
		"MTU": {
			[]string{"--dhcp-option=26,9000"},
			[]string{"default via 10.77.0.1 dev eth0"}, "not all that DHCP says can be used: the MTU stays at 1500: the DHCP server says 9000",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t)
			l.smallMTU()
			l.startDNSMasq(append(tc.options, "--dhcp-host="+l.mac()+",10.77.0.50", "--dhcp-option=6,10.77.0.1", "--dhcp-option=58,5", "--dhcp-option=59,90")...)
			l.startService("eth0")
			l.eventually("the routes", 5*time.Second, func() bool { return l.has("-4 route", tc.routes...) })
			l.eventually("resolv.conf", 5*time.Second, func() bool { return strings.HasSuffix(l.resolver(), "\nnameserver 10.77.0.1\n") })
			l.eventually("a line", 5*time.Second, l.logged(tc.line))
			l.eventually("two renewals", 15*time.Second, func() bool { return strings.Count(l.service.String(), "extended by 2m0s") >= 2 })
			if n := strings.Count(l.service.String(), tc.line); n != 1 {
				t.Errorf("the line is there %d times:\n%s", n, l.service)
			}
		})
	}
}

// smallMTU puts an interface in place of eth0 that takes an MTU of 1500 at most: a
// macvlan's is that of what it is on.
func (l *lan) smallMTU() {
	l.t.Helper()
	l.ip("link", "set", "eth0", "name", "parent", "up")
	l.ip("link", "add", "link", "parent", "name", "eth0", "type", "macvlan", "mode", "bridge")
}

// With an MTU below 1280 the kernel takes IPv6 from an interface.
func TestSmallMTUKeepsIPv6(t *testing.T) {
	l := newLAN(t)
	l.startDNSMasq("--dhcp-option=26,576")
	l.startService("eth0")
	l.eventually("an address", 5*time.Second, l.hasAddress)
	l.eventually("a link-local address", 5*time.Second, func() bool { return l.has("-6 addr show eth0", "mtu 1280", "inet6 fe80:") })
}

// A lease of 20 seconds is renewed; without a server it expires; when the
// server is back, so is the address.
func TestServerGoneAndBack(t *testing.T) {
	l := newLAN(t)
	server := l.startUDHCPD()
	l.startService("eth0")
	l.eventually("an address", 10*time.Second, l.hasAddress)
	l.eventually("a renewal", 15*time.Second, l.logged("extended by 20s"))
	server.Stop()
	l.eventually("expiry", 25*time.Second, func() bool { return !l.hasAddress() && !strings.Contains(l.routes(), "default") })
	l.eventually("a line about it", 5*time.Second, l.logged("the lease expired"))
	l.eventually("no name server", 5*time.Second, func() bool { return l.resolver() == resolvconf.Marker+"\n" })
	l.startUDHCPD()
	l.eventually("an address again", 20*time.Second, l.hasAddress)
}

func TestRestartKeepsAddress(t *testing.T) {
	l := newLAN(t)
	l.startDNSMasq()
	l.startService("eth0")
	l.eventually("an address", 5*time.Second, l.hasAddress)
	l.eventually("a default route", 5*time.Second, func() bool { return strings.Contains(l.routes(), "default") })
	before := l.routes()
	l.service.Stop()
	l.expect("the address after the end", l.address(), "inet 10.77.0.")
	l.startService("eth0")
	l.eventually("the old lease", 5*time.Second, l.logged("extended by 2m0s"))
	l.expect("the log", l.service.String(), "eth0: link is up, asking for 10.77.0.")
	if after := l.routes(); after != before {
		t.Errorf("routes before:\n%safter:\n%s", before, after)
	}
}

// When the program never comes back, the kernel takes the address away.
func TestKernelExpires(t *testing.T) {
	l := newLAN(t)
	l.startUDHCPD()
	l.startService("eth0")
	l.eventually("an address", 10*time.Second, l.hasAddress)
	l.service.Stop()
	l.eventually("expiry", 25*time.Second, func() bool { return !l.hasAddress() && !strings.Contains(l.routes(), "default") })
}

func TestLinkDownAndUp(t *testing.T) {
	l := newLAN(t)
	l.startDNSMasq()
	l.startService("eth0")
	l.eventually("an address", 5*time.Second, l.hasAddress)
	l.run("ip", "-n", l.server, "link", "set", "srv", "down")
	l.eventually("loss of the link", 5*time.Second, l.logged("eth0: link is down"))
	l.expect("the address without link", l.address(), "inet 10.77.0.")
	l.run("ip", "-n", l.server, "link", "set", "srv", "up")
	l.eventually("the lease", 5*time.Second, l.logged("extended by 2m0s"))
}

func TestInterfaceComesAndGoes(t *testing.T) {
	l := newLAN(t)
	l.run("ip", "-n", l.server, "link", "del", "srv")
	l.startService("eth0")
	l.cable("srv", "10.77.0.1/24", "eth0")
	l.startDNSMasq()
	l.eventually("an address", 10*time.Second, l.hasAddress)
	l.run("ip", "-n", l.server, "link", "del", "srv")
	l.eventually("the interface's end", 5*time.Second, l.logged("eth0: no longer configured here"))
	l.cable("srv", "10.77.0.1/24", "eth0")
	l.eventually("an address", 10*time.Second, l.hasAddress)
}

// With another address, the interface is another client: it does not keep the lease.
func TestAnotherMAC(t *testing.T) {
	l := newLAN(t)
	l.startDNSMasq()
	l.startService("eth0")
	l.eventually("an address", 5*time.Second, l.hasAddress)
	before := l.leasedAddress("eth0")
	l.ip("link", "set", "eth0", "address", "52:54:00:00:00:99")
	l.eventually("another address", 10*time.Second, func() bool { return l.hasAddress() && !l.has("addr show eth0", before+"/") })
	if n := strings.Count(l.address(), "inet "); n != 1 {
		t.Errorf("there are %d addresses:\n%s", n, l.address())
	}
}

// A route of another interface stays, whatever the file says.
func TestRouteIsTaken(t *testing.T) {
	l := newLAN(t)
	l.cable("srv2", "10.78.0.1/24", "eth1")
	l.ip("link", "set", "eth1", "up")
	l.ip("addr", "add", "10.78.0.2/24", "dev", "eth1")
	l.ip("route", "add", "172.20.0.0/16", "via", "10.78.0.1", "metric", "7")
	l.configure("  eth0: {addresses: [10.77.0.20/24], routes: [{to: 172.20.0.0/16, via: 10.77.0.1, metric: 7}, {to: 172.21.0.0/16, via: 10.77.0.1}]}\n")
	l.startService("eth0")
	l.eventually("a line about it", 5*time.Second, l.logged("add route to 172.20.0.0/16 via 10.77.0.1: there is one with the metric 7 already"))
	l.eventually("the other route", 5*time.Second, func() bool { return l.has("-4 route", "172.21.0.0/16 via 10.77.0.1 dev eth0") })
	l.expect("the route of eth1", l.routes(), "172.20.0.0/16 via 10.78.0.1 dev eth1")
}

// While the program does not read, the kernel has more to tell than it keeps.
func TestLostMessages(t *testing.T) {
	l := newLAN(t)
	l.startService("eth0", "eth1")
	l.eventually("eth0", 5*time.Second, func() bool { return l.has("link show eth0", ",UP") })
	pids := strings.Fields(l.run("ip", "netns", "pids", l.node))
	signal := func(name string) {
		for _, pid := range pids {
			l.run("kill", "-"+name, pid)
		}
	}
	signal("STOP")
	l.ip("link", "add", "name", "noise", "type", "bridge")
	l.write("batch", strings.Repeat("link set noise txqueuelen 100\nlink set noise txqueuelen 200\n", 4000))
	l.ip("-batch", l.path("batch"))
	l.run("ip", "-n", l.server, "link", "del", "srv")
	l.cable("srv", "10.77.0.1/24", "eth1")
	l.startDNSMasq()
	signal("CONT")
	l.eventually("a line about it", 10*time.Second, l.logged("messages about interfaces were lost"))
	l.eventually("the end of eth0", 10*time.Second, l.logged("eth0: no longer configured here"))
	l.eventually("eth1 by DHCP", 10*time.Second, func() bool { return strings.Contains(l.ip("addr", "show", "eth1"), "inet 10.77.0.") })
}

func TestTwoInterfaces(t *testing.T) {
	l := newLAN(t)
	l.cable("srv2", "10.78.0.1/24", "eth1")
	l.startDNSMasq("--dhcp-range=10.78.0.50,10.78.0.99,255.255.255.0,2m",
		"--dhcp-option=srv,6,10.77.0.1,10.9.9.9", "--dhcp-option=srv2,6,10.9.9.9,10.78.0.1")
	l.startService("eth0", "eth1")
	l.eventually("both default routes", 10*time.Second, func() bool { return strings.Count(l.routes(), "default") == 2 })
	l.eventually("all name servers", 5*time.Second, func() bool {
		return l.resolver() == resolvconf.Marker+"\nnameserver 10.77.0.1\nnameserver 10.9.9.9\nnameserver 10.78.0.1\n"
	})
	l.service.Stop()
	before := l.resolver()
	l.startService("eth0", "eth1")
	l.eventually("both leases", 10*time.Second, func() bool { return strings.Count(l.service.String(), "extended") == 2 })
	if after := l.resolver(); after != before {
		t.Errorf("resolv.conf after a restart:\n%sbefore:\n%s", after, before)
	}
}

// Without -interface a veth is none of our business.
func TestVirtualInterfacesAreLeftAlone(t *testing.T) {
	l := newLAN(t)
	l.cable("srv2", "10.78.0.1/24", "eth1")
	l.startService()
	// Nothing happens, for which there is no event to wait for.
	time.Sleep(time.Second)
	if got := l.run("ip", "-n", l.node, "link", "show", "eth0"); strings.Contains(got, "UP") {
		t.Errorf("eth0 was brought up:\n%s", got)
	}
}

func TestEndsAtOnceAsPID1(t *testing.T) {
	l := newLAN(t)
	cmd := exec.Command("unshare", "--pid", "--fork", "--kill-child", "ip", "netns", "exec", l.node, program, "network")
	lab.Must(t, cmd.Start())
	// unshare's child, which ip replaced by the program, is PID 1.
	var child string
	l.eventually("PID 1", 5*time.Second, func() bool {
		out, _ := exec.Command("pgrep", "-P", fmt.Sprint(cmd.Process.Pid), "system").Output()
		child = strings.TrimSpace(string(out))
		return child != ""
	})
	time.Sleep(200 * time.Millisecond) // it installs its handler
	l.run("kill", "-TERM", child)
	start := time.Now()
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v, want exit status 0", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("SIGTERM took %s", took)
	}
}
