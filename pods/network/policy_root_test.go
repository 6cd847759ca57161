//go:build root

package network

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kios/pods/network/resolvconf"
	"kios/test/lab"
)

// plug shows a card in the machine's sysfs: as a device, and if there is a name, as an
// interface with a driver. Of a virtual function, the card is its physical one.
func (l *lan) plug(address, name string, virtual bool) {
	l.t.Helper()
	device := l.path("sys/devices/pci0000:00/" + address)
	link := func(path, target string) {
		lab.Must(l.t, os.MkdirAll(filepath.Dir(path), 0o755))
		if err := os.Symlink(target, path); !os.IsExist(err) {
			lab.Must(l.t, err)
		}
	}
	link(filepath.Join(device, "subsystem"), l.path("sys/bus/pci"))
	link(l.path("sys/bus/pci/devices/"+address), device)
	if virtual {
		link(filepath.Join(device, "physfn"), l.path("sys/devices/pci0000:00/0000:00:03.0"))
	}
	if name == "" {
		return
	}
	// As virtio has it: a device that comes with the driver.
	child := filepath.Join(device, "virtio0")
	link(filepath.Join(child, "subsystem"), l.path("sys/bus/virtio"))
	link(filepath.Join(child, "driver"), l.path("sys/bus/virtio/drivers/virtio_net"))
	if virtual {
		child = device
	}
	link(l.path("sys/class/net/"+name+"/device"), child)
}

// newMachine is a lan whose node has a sysfs with the card eth0, and a DHCP server on
// each of four cables, of which one is there.
func newMachine(t *testing.T) *lan {
	l := newLAN(t)
	l.args = []string{"-sysfs", l.path("sys")}
	l.plug("0000:00:03.0", "eth0", false)
	l.plug("0000:00:04.0", "", false) // its driver comes later
	return l
}

// connect joins the node's interface with the network N, 10.N.0.0/24.
func (l *lan) connect(name, network string) {
	l.t.Helper()
	l.cable("srv-"+name, "10."+network+".0.1/24", name)
}

func (l *lan) serveAll() {
	l.startDNSMasq("--dhcp-range=10.78.0.50,10.78.0.99,255.255.255.0,2m", "--dhcp-range=10.79.0.50,10.79.0.99,255.255.255.0,2m", "--dhcp-range=10.80.0.50,10.80.0.99,255.255.255.0,2m")
}

// leased reports whether the interface has an address by DHCP.
func (l *lan) leased(name string) func() bool {
	return func() bool { return l.has("-4 addr show dev "+name, "dynamic") }
}

func (l *lan) isUp(name string) bool { return l.has("link show dev "+name, ",UP") }

// A card whose driver comes late gets DHCP. What is plugged in while the node has a
// network, and a virtual function of a card that is here, are somebody else's unless
// the file lists them.
func TestUnlistedInterfaces(t *testing.T) {
	l := newMachine(t)
	l.serveAll()
	l.startService()
	l.eventually("eth0 by DHCP", 5*time.Second, l.leased("eth0"))
	l.plug("0000:00:09.0", "eni1", false)
	l.connect("eni1", "78")
	l.eventually("a line about it", 5*time.Second, l.logged("eni1: left alone: it was plugged in later, and the node has a network without it; list it in"))
	l.plug("0000:00:03.1", "vf1", true)
	l.connect("vf1", "79")
	l.eventually("a line about it", 5*time.Second, l.logged("vf1: left alone: it is a virtual function of a card of this machine"))
	l.plug("0000:00:04.0", "late", false)
	l.connect("late", "80")
	l.eventually("the late driver's card by DHCP", 5*time.Second, l.leased("late"))
	for range 2 { // a restart decides as before
		for _, name := range []string{"eni1", "vf1"} {
			if l.isUp(name) {
				t.Errorf("%s was brought up:\n%s", name, l.ip("link"))
			}
		}
		l.service.Stop()
		l.startService()
		l.eventually("both leases", 10*time.Second, func() bool { return strings.Count(l.service.String(), "extended") == 2 })
		l.eventually("the lines again", 5*time.Second, func() bool { return strings.Count(l.service.String(), "left alone") == 2 })
	}
	l.configure("  eni1: {}\n  eth0: {manage: false}\n")
	l.eventually("eni1 by DHCP", 5*time.Second, l.leased("eni1"))
	l.eventually("eth0 without", 5*time.Second, func() bool { return !l.leased("eth0")() && !l.has("-4 route", "dev eth0 proto dhcp") })
}

// Without any other network, what is plugged in is the way in.
func TestPluggedInIsTheWayIn(t *testing.T) {
	l := newMachine(t)
	l.run("ip", "-n", l.server, "link", "set", "srv", "down")
	l.serveAll()
	l.startService()
	l.eventually("eth0 without a link", 5*time.Second, func() bool { return l.isUp("eth0") })
	l.plug("0000:00:09.0", "eth1", false)
	l.connect("eth1", "78")
	l.eventually("eth1 by DHCP", 5*time.Second, l.leased("eth1"))
	l.run("ip", "-n", l.server, "link", "set", "srv", "up")
	l.eventually("eth0 by DHCP", 10*time.Second, l.leased("eth0"))
	l.service.Stop()
	l.startService()
	l.eventually("both leases", 10*time.Second, func() bool { return strings.Count(l.service.String(), "extended") == 2 })
}

func TestPolicies(t *testing.T) {
	for _, tc := range []struct {
		policy string
		leased []string
	}{
		{"first", []string{"eth0"}}, {"none", []string{"named"}}, {"all", []string{"eth0", "late", "vf1"}}, {"present", []string{"eth0", "late"}},
	} {
		t.Run(tc.policy, func(t *testing.T) {
			l := newMachine(t)
			l.plug("0000:00:04.0", "late", false)
			l.connect("late", "78")
			l.plug("0000:00:03.1", "vf1", true)
			l.connect("vf1", "79")
			l.connect("named", "80")
			l.serveAll()
			l.write("etc/kios/network.yaml", "unlisted: "+tc.policy+"\ninterfaces: {named: {}}\n")
			l.startService()
			l.eventually("the listed one by DHCP", 5*time.Second, l.leased("named"))
			for _, name := range tc.leased {
				l.eventually(name+" by DHCP", 5*time.Second, l.leased(name))
			}
			for _, name := range []string{"eth0", "late", "vf1"} {
				if l.isUp(name) != strings.Contains(strings.Join(tc.leased, " "), name) {
					t.Errorf("of %v, %s is up: %v", tc.leased, name, l.isUp(name))
				}
			}
		})
	}
}

// A machine with hundreds of functions does not cost the pod more memory than it has.
func TestManyInterfaces(t *testing.T) {
	l := newMachine(t)
	for n := range 40 {
		name := fmt.Sprintf("many%d", n)
		l.plug(fmt.Sprintf("0000:10:%02x.0", n), name, false)
		l.connect(name, strconv.Itoa(100+n))
	}
	l.startDNSMasq()
	l.write("etc/kios/network.yaml", "unlisted: all\n")
	l.startService()
	l.eventually("eth0 by DHCP", 10*time.Second, l.leased("eth0"))
	l.eventually("lines about the rest", 10*time.Second, func() bool {
		return strings.Count(l.service.String(), "left alone: too many other interfaces use DHCP") == 41-maxUnlisted
	})
	if up := strings.Count(l.ip("link"), ",UP"); up != maxUnlisted {
		t.Errorf("%d interfaces are up, want %d", up, maxUnlisted)
	}
	pid := strings.Fields(l.run("ip", "netns", "pids", l.node))[0]
	status, err := os.ReadFile("/proc/" + pid + "/status")
	lab.Must(t, err)
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(peak)[0])
	if err != nil || kib > 28<<10 {
		t.Errorf("the service used %d KiB of memory (%v); the pod has 32 MiB", kib, err)
	}
	t.Logf("%d KiB at most", kib)
}

// An entry finds cards by driver and address.
func TestFoundByPattern(t *testing.T) {
	l := newMachine(t)
	l.plug("0000:00:04.0", "late", false)
	l.connect("late", "78")
	l.serveAll()
	l.configure("  slow:\n    match: {driver: \"virtio_*\", device: \"0000:00:04.?\"}\n    addresses: []\n    mtu: 1300\n  mine:\n    match: {device: 0000:00:03.0}\n    addresses: [10.77.0.20/24]\n")
	l.startService()
	l.eventually("the MTU", 5*time.Second, func() bool { return l.has("link show late", "mtu 1300") && l.leased("late")() })
	l.eventually("the address", 5*time.Second, func() bool { return l.has("addr show eth0", "10.77.0.20/24") })
}

// What the interface brought stays when a bridge takes it, also over a restart, until
// the lease ends; and then the bridge can have a lease.
func TestBridgeTakesTheUplink(t *testing.T) {
	l := newLAN(t)
	l.startUDHCPD()
	l.startService("eth0")
	l.eventually("name servers", 10*time.Second, func() bool { return strings.Contains(l.resolver(), "nameserver 10.77.0.1") })
	l.ip("link", "add", "name", "br-ex", "address", l.mac(), "type", "bridge")
	l.ip("link", "set", "br-ex", "up")
	l.ip("link", "set", "eth0", "master", "br-ex")
	l.eventually("a line about it", 5*time.Second, l.logged("eth0: it belongs to br-ex now"))
	l.service.Stop()
	l.configure("  eth9: {addresses: [10.99.0.1/24], dns: [192.0.2.1]}\n") // there is something to write
	l.cable("srv9", "10.99.0.9/24", "eth9")
	l.startService("eth0")
	l.eventually("the other's name server", 5*time.Second, func() bool { return strings.Contains(l.resolver(), "nameserver 192.0.2.1\nnameserver 10.77.0.1\n") })
	l.eventually("the end of the lease", 25*time.Second, func() bool { return !strings.Contains(l.resolver(), "10.77.0.1") })
	l.configure("  br-ex: {}\n")
	l.eventually("a lease of the bridge", 10*time.Second, func() bool {
		return l.has("-4 addr show br-ex", "inet 10.77.0.") && strings.Contains(l.resolver(), "nameserver 10.77.0.1")
	})
	l.ip("link", "set", "eth0", "nomaster")
	l.eventually("eth0 is its own again", 10*time.Second, func() bool { return strings.Count(l.service.String(), "eth0: link is up") > 0 })
}

// What the file says about the interface counts there, too.
func TestLentAsTheFileSays(t *testing.T) {
	l := newLAN(t)
	l.startUDHCPD()
	l.configure("  eth0: {dns: [192.0.2.7], ignore: [dns]}\n")
	l.startService("eth0")
	l.eventually("a lease", 10*time.Second, l.hasAddress)
	l.ip("link", "add", "name", "br-ex", "address", l.mac(), "type", "bridge")
	l.ip("link", "set", "eth0", "master", "br-ex")
	l.eventually("a line about it", 5*time.Second, l.logged("eth0: it belongs to br-ex now"))
	l.service.Stop()
	l.write("state/resolv.conf", "")
	l.startService("eth0")
	l.eventually("the file's name server", 5*time.Second, func() bool { return strings.Contains(l.resolver(), "nameserver") })
	if got, want := l.resolver(), resolvconf.Marker+"\nnameserver 192.0.2.7\n"; got != want {
		t.Errorf("resolv.conf is %q, want %q", got, want)
	}
	l.configure("  eth0: {dns: [192.0.2.8]}\n")
	l.eventually("the edited name server", 5*time.Second, func() bool { return strings.Contains(l.resolver(), "192.0.2.8") })
}

// Who gets an interface that is let go gets no routes from strangers.
func TestLetGoTakesNoAdvertisements(t *testing.T) {
	l := newLAN(t)
	setting := func(name string) string {
		return l.run("ip", "netns", "exec", l.node, "cat", "/proc/sys/net/ipv6/conf/"+name+"/accept_ra")
	}
	l.startService("eth0")
	l.eventually("the pod's setting", 5*time.Second, func() bool { return setting("eth0") == "2\n" })
	l.configure("  eth0: {manage: false}\n")
	l.eventually("the kernel's setting", 5*time.Second, func() bool { return setting("eth0") == setting("default") })
}

// With a card in the file, the first one is not another one.
func TestTheFirstIsListed(t *testing.T) {
	l := newMachine(t)
	l.plug("0000:00:04.0", "late", false)
	l.connect("late", "78")
	l.serveAll()
	l.write("etc/kios/network.yaml", "unlisted: first\ninterfaces: {late: {}}\n")
	l.startService()
	l.eventually("the listed one by DHCP", 5*time.Second, l.leased("late"))
	if l.isUp("eth0") {
		t.Errorf("eth0 was brought up:\n%s", l.ip("link"))
	}
}

// The kernel takes the routes of an advertisement (RFC 4191), other than default ones,
// too.
func TestRoutesOfRouters(t *testing.T) {
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/lo/accept_ra_rt_info_max_plen"); err != nil {
		t.Skip("this kernel has no CONFIG_IPV6_ROUTE_INFO")
	}
	l := newLAN(t)
	l.write("radvd.conf", `interface srv { AdvSendAdvert on; AdvDefaultLifetime 0; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;
	prefix fd00:77::/64 {}; route 64:ff9b::/96 {}; route fd00:88::/48 { AdvRoutePreference high; }; };
`)
	lab.Must(t, os.Chmod(l.path("radvd.conf"), 0o600))
	l.run("ip", "netns", "exec", l.server, "sysctl", "-q", "-w", "net.ipv6.conf.all.forwarding=1")
	l.start(l.server, "radvd", "-n", "-m", "stderr", "-u", "root", "-C", l.path("radvd.conf"), "-p", l.path("radvd.pid"))
	l.startService("eth0")
	l.eventually("both routes", 15*time.Second, func() bool { return l.has("-6 route", "64:ff9b::/96 via fe80:", "fd00:88::/48 via fe80:") })
	l.configure("  eth0: {ignore: [routes]}\n")
	l.eventually("the setting", 5*time.Second, func() bool {
		return strings.TrimSpace(l.run("ip", "netns", "exec", l.node, "cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra_rt_info_max_plen")) == "0"
	})
}
