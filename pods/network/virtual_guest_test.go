//go:build guest

// VLANs and bonds, on a kernel that surely has them. The node's end of each
// cable is in the machine's own network namespace, the other end in one that
// stands for the network.

package network

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// vlan is the service on a node, and the network around it.
type vlan struct {
	t    *testing.T
	dir  string
	jobs chan func() // to run in the network's namespace
	fd   int         // that namespace

	lab.Buffer // what the service says
}

func newVLAN(t *testing.T) *vlan {
	l := &vlan{t: t, dir: t.TempDir(), jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			l.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		ready <- err
		for job := range l.jobs {
			job()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("make a network: %v", err)
	}
	t.Cleanup(func() {
		unix.Close(l.fd)
		close(l.jobs)
		if t.Failed() {
			t.Logf("the service said:\n%s", l.String())
		}
	})
	return l
}

// outside runs f in the network.
func (l *vlan) outside(f func() error) {
	l.t.Helper()
	done := make(chan error)
	l.jobs <- func() { done <- f() }
	lab.Must(l.t, <-done)
}

// cable joins the node's interface with one of the network, "x-" and its name.
func (l *vlan) cable(node string) {
	l.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = node
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "x-" + node, PeerNamespace: netlink.NsFd(l.fd)}
	if err := netlink.LinkAdd(veth); err != nil {
		l.t.Fatalf("make the cable %s: %v", node, err)
	}
	l.t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	l.outside(func() error { return up("x-" + node) })
}

func up(name string) error {
	nl, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(nl)
}

// serve adds an interface to the network and a DHCP server on it, which has one
// address to give.
func (l *vlan) serve(nl netlink.Link, server, client string) {
	l.t.Helper()
	l.outside(func() error {
		if err := netlink.LinkAdd(nl); err != nil {
			return fmt.Errorf("add %s: %w", nl.Attrs().Name, err)
		}
		address, err := netlink.ParseAddr(server)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(nl, address); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(nl); err != nil {
			return err
		}
		conn, err := listenServer(nl.Attrs().Name)
		if err != nil {
			return err
		}
		l.t.Cleanup(func() { conn.Close() })
		go answer(conn, address, net.ParseIP(client))
		return nil
	})
}

func listenServer(name string) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		ctlErr := rc.Control(func(fd uintptr) {
			err = errors.Join(unix.BindToDevice(int(fd), name), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
		})
		return errors.Join(ctlErr, err)
	}}
	return lc.ListenPacket(context.Background(), "udp4", ":67")
}

// answer offers and acknowledges the client's address until conn is closed.
func answer(conn net.PacketConn, server *netlink.Addr, client net.IP) {
	buf := make([]byte, 1500)
	for {
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		m, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			continue
		}
		kind := dhcpv4.MessageTypeOffer
		if m.MessageType() == dhcpv4.MessageTypeRequest {
			kind = dhcpv4.MessageTypeAck
		}
		reply, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(client),
			dhcpv4.WithServerIP(server.IP), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server.IP)),
			dhcpv4.WithNetmask(server.Mask), dhcpv4.WithLeaseTime(600))
		if err == nil {
			_, _ = conn.WriteTo(reply.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68})
		}
	}
}

func (l *vlan) configure(interfaces string) {
	l.t.Helper()
	lab.Must(l.t, replace(filepath.Join(l.dir, "etc/kios/network.yaml"), []byte("interfaces:\n"+interfaces)))
}

// start starts the service and returns what ends it.
func (l *vlan) start() (stop func()) {
	s := &Service{
		Interfaces: []string{"none"}, // what is not in the file is left alone
		File:       filepath.Join(l.dir, "etc/kios/network.yaml"),
		StateDir:   filepath.Join(l.dir, "state"),
		LastDir:    filepath.Join(l.dir, "last"),
		ProcSysNet: "/proc/sys/net",
		Sysfs:      "/sys",
		Log:        log.New(l, "", 0),
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				l.t.Errorf("the service ended: %v", err)
			}
			for _, p := range s.ports {
				p.stop()
			}
		})
	}
	l.t.Cleanup(stop)
	return stop
}

func (l *vlan) eventually(what string, ok func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("did not come: %s", what)
		}
	}
}

func (l *vlan) logged(text string) func() bool {
	return func() bool { return strings.Contains(l.String(), text) }
}

func exists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}

// has reports whether the interface has the address.
func has(name, address string) bool {
	nl, err := netlink.LinkByName(name)
	if err != nil {
		return false
	}
	have, _ := netlink.AddrList(nl, netlink.FAMILY_ALL)
	for _, a := range have {
		if a.IPNet.String() == address {
			return true
		}
	}
	return false
}

func index(name string) int {
	nl, err := netlink.LinkByName(name)
	if err != nil {
		return -1
	}
	return nl.Attrs().Index
}

// memberOf reports whether the interface belongs to the bond.
func memberOf(name, bond string) bool {
	nl, err := netlink.LinkByName(name)
	return err == nil && nl.Attrs().MasterIndex != 0 && nl.Attrs().MasterIndex == index(bond)
}

func vlanOf(name string) (id, parent int) {
	nl, err := netlink.LinkByName(name)
	if v, ok := nl.(*netlink.Vlan); err == nil && ok {
		return v.VlanId, v.ParentIndex
	}
	return 0, 0
}

func newAttrs(name string) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	return attrs
}

// serveVLAN serves DHCP on a VLAN of the network's end of a cable.
func (l *vlan) serveVLAN(cable string, id int, server, client string) {
	l.t.Helper()
	attrs := newAttrs(fmt.Sprintf("x%d", id))
	l.outside(func() error {
		attrs.ParentIndex = index("x-" + cable)
		return nil
	})
	l.serve(&netlink.Vlan{LinkAttrs: attrs, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}, server, client)
}

func TestVLAN(t *testing.T) {
	l := newVLAN(t)
	l.cable("port0")
	l.serveVLAN("port0", 5, "10.5.0.1/24", "10.5.0.20")
	l.serveVLAN("port0", 7, "10.7.0.1/24", "10.7.0.20")
	l.configure("  port0: {dhcp4: false}\n  lan: {vlan: {id: 5, parent: port0}}\n  storage: {vlan: {id: 6, parent: port0}, addresses: [10.6.0.20/24], mtu: 1400}\n" +
		"  inner: {vlan: {id: 8, parent: lan}, addresses: [10.8.0.20/24]}\n  later: {vlan: {id: 9, parent: port1}, addresses: [10.9.0.20/24]}\n")
	stop := l.start()
	l.eventually("an address by DHCP on the VLAN", func() bool { return has("lan", "10.5.0.20/24") })
	l.eventually("an address of the file on the VLAN", func() bool { return has("storage", "10.6.0.20/24") })
	l.eventually("a VLAN on a VLAN", func() bool { return has("inner", "10.8.0.20/24") })
	if nl, err := netlink.LinkByName("storage"); err != nil || nl.Attrs().MTU != 1400 {
		t.Errorf("the MTU of storage: %+v, %v", nl, err)
	}
	l.eventually("a line about the missing parent", l.logged("later: its parent port1 is not there"))
	l.cable("port1")
	l.eventually("the VLAN on the late parent", func() bool { return has("later", "10.9.0.20/24") })

	lan := index("lan")
	l.configure("  port0: {dhcp4: false}\n  lan: {vlan: {id: 5, parent: port0}}\n")
	l.eventually("the end of VLANs that are not in the file", func() bool { return !exists("storage") && !exists("inner") && !exists("later") })
	if index("lan") != lan || !has("lan", "10.5.0.20/24") {
		t.Error("the VLAN that stays in the file was touched")
	}
	stop()
	if !has("lan", "10.5.0.20/24") {
		t.Error("the end of the service took the VLAN's address")
	}
	l.configure("  port0: {dhcp4: false}\n  lan: {vlan: {id: 7, parent: port0}}\n")
	l.start()
	l.eventually("the VLAN with another number", func() bool {
		id, parent := vlanOf("lan")
		return id == 7 && parent == index("port0") && has("lan", "10.7.0.20/24") && !has("lan", "10.5.0.20/24")
	})
}

// An interface that somebody else made is never replaced.
func TestVLANsNameIsTaken(t *testing.T) {
	l := newVLAN(t)
	l.cable("port0")
	l.cable("lan")
	before := index("lan")
	l.configure("  lan: {vlan: {id: 5, parent: port0}, addresses: [10.5.0.20/24]}\n")
	l.start()
	l.eventually("a line about it", l.logged("lan: there is an interface of that name already, of type veth"))
	l.configure("  other: {vlan: {id: 5, parent: port0}, addresses: [10.5.0.20/24]}\n")
	l.eventually("the VLAN under another name", func() bool { return has("other", "10.5.0.20/24") })
	if index("lan") != before || has("lan", "10.5.0.20/24") {
		t.Error("the other interface was touched")
	}
}

// bonding is what the kernel says about the bond. Not /proc/net: the first thread
// may be the one that has left this namespace.
func bonding(name string) string {
	text, _ := os.ReadFile("/proc/thread-self/net/bonding/" + name)
	return string(text)
}

func TestBond(t *testing.T) {
	l := &bondLAN{newVLAN(t), &netlink.Bridge{LinkAttrs: newAttrs("x-br")}}
	l.serve(l.bridge, "10.1.0.1/24", "10.1.0.20")
	l.plug("port0")
	l.plug("port1")
	// First on their own, so that there is something to take away.
	l.configure("  port0: {addresses: [10.1.0.30/24]}\n  port1: {}\n")
	l.start()
	l.eventually("addresses on the ports", func() bool { return has("port0", "10.1.0.30/24") && has("port1", "10.1.0.20/24") })
	l.joinsTwo()
	l.joinsALateMember()
	l.outlivesAMember()
	l.losesAMember()
	l.changesMode()
	l.ends()
}

// bondLAN has cables that end in one bridge of the network. Its methods check what
// becomes of the bond, one after the other.
type bondLAN struct {
	*vlan
	bridge *netlink.Bridge
}

func (l *bondLAN) plug(name string) {
	l.t.Helper()
	l.cable(name)
	l.outside(func() error {
		nl, err := netlink.LinkByName("x-" + name)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(nl, l.bridge)
	})
}

func (l *bondLAN) joinsTwo() {
	l.configure("  bond0: {bond: {members: [port0, port1, port2], miimon: 50}}\n")
	l.eventually("two members", func() bool { return memberOf("port0", "bond0") && memberOf("port1", "bond0") })
	l.eventually("an address by DHCP through the bond", func() bool { return has("bond0", "10.1.0.20/24") })
	if has("port0", "10.1.0.30/24") || has("port1", "10.1.0.20/24") {
		l.t.Error("a member has kept its address")
	}
	for _, want := range []string{"Bonding Mode: fault-tolerance (active-backup)", "MII Polling Interval (ms): 50", "MII Status: up"} {
		if got := bonding("bond0"); !strings.Contains(got, want) {
			l.t.Errorf("the bond has no %q:\n%s", want, got)
		}
	}
}

func (l *bondLAN) joinsALateMember() {
	l.eventually("a line about the third", l.logged("bond0: its member port2 is not there; it is added when it appears"))
	l.plug("port2")
	l.eventually("the late member", func() bool { return memberOf("port2", "bond0") })
}

func (l *bondLAN) outlivesAMember() {
	l.outside(func() error {
		nl, err := netlink.LinkByName("x-port0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(nl)
	})
	l.eventually("another active member", func() bool {
		got := bonding("bond0")
		return strings.Contains(got, "Currently Active Slave: port1") || strings.Contains(got, "Currently Active Slave: port2")
	})
	if strings.Contains(l.String(), "bond0: link is down") {
		l.t.Error("the bond went down with one of its members")
	}
}

func (l *bondLAN) losesAMember() {
	bond0 := index("bond0")
	l.configure("  bond0: {bond: {members: [port1, port2], miimon: 50}}\n")
	l.eventually("the end of a membership", func() bool { return exists("port0") && !memberOf("port0", "bond0") })
	if index("bond0") != bond0 || !memberOf("port1", "bond0") || !has("bond0", "10.1.0.20/24") {
		l.t.Error("the rest of the bond was touched")
	}
}

func (l *bondLAN) changesMode() {
	l.configure("  bond0: {bond: {members: [port1, port2], mode: 802.3ad, lacpRate: fast, xmitHash: layer3+4}, addresses: [10.1.0.40/24], mtu: 1400}\n" +
		"  lan: {vlan: {id: 5, parent: bond0}, addresses: [10.5.0.20/24]}\n")
	l.eventually("the other mode", func() bool {
		got := bonding("bond0")
		return strings.Contains(got, "Bonding Mode: IEEE 802.3ad") && strings.Contains(got, "LACP rate: fast") &&
			strings.Contains(got, "Transmit Hash Policy: layer3+4 (1)") && strings.Contains(got, "MII Polling Interval (ms): 100")
	})
	l.eventually("its members, its address, its VLAN", func() bool {
		return memberOf("port1", "bond0") && memberOf("port2", "bond0") && has("bond0", "10.1.0.40/24") && !has("bond0", "10.1.0.20/24") && has("lan", "10.5.0.20/24")
	})
	if nl, err := netlink.LinkByName("port1"); err != nil || nl.Attrs().MTU != 1400 {
		l.t.Errorf("the MTU of a member: %+v, %v", nl, err)
	}
}

func (l *bondLAN) ends() {
	lab.Must(l.t, os.Remove(filepath.Join(l.dir, "etc/kios/network.yaml")))
	l.eventually("the end of the bond", func() bool { return !exists("bond0") && !exists("lan") && exists("port1") })
}

// perm returns the permanent address of a cable's end of the node, or of a bond; "" while
// the service is replacing it.
func perm(name string) string {
	nl, err := netlink.LinkByName(name)
	if err != nil {
		return ""
	}
	return nl.Attrs().HardwareAddr.String()
}

// A bond has the address of the first member of the file, whichever interface came
// first, and prefers the member that the file says.
func TestBondOrder(t *testing.T) {
	l := newVLAN(t)
	l.cable("port0")
	l.cable("port1")
	first := perm("port1")
	l.configure("  bond0: {bond: {members: [port1, port0], primary: port0, upDelay: 200, downDelay: 100}, addresses: [10.1.0.20/24]}\n")
	l.start()
	l.eventually("both members", func() bool { return memberOf("port0", "bond0") && memberOf("port1", "bond0") })
	if got := perm("bond0"); got != first {
		t.Errorf("the bond's address is %s, want that of port1, %s", got, first)
	}
	for _, want := range []string{"Primary Slave: port0 ", "Up Delay (ms): 200", "Down Delay (ms): 100"} {
		l.eventually(want, func() bool { return strings.Contains(bonding("bond0"), want) })
	}
	l.configure("  bond0: {bond: {members: [port1, port0], primary: port1, upDelay: 200, downDelay: 100}, addresses: [10.1.0.20/24]}\n")
	l.eventually("another primary", func() bool { return strings.Contains(bonding("bond0"), "Primary Slave: port1 ") })
	bond0 := index("bond0")
	l.configure("  bond0: {bond: {members: [port1, port0], upDelay: 200, downDelay: 100}, addresses: [10.1.0.20/24]}\n")
	l.eventually("no primary", func() bool { return strings.Contains(bonding("bond0"), "Primary Slave: None") })
	if index("bond0") != bond0 {
		t.Error("the bond was replaced")
	}
	l.configure("  bond0: {bond: {members: [port1, port0], mac: 52:54:00:aa:00:01, arpInterval: 200, arpTargets: [10.1.0.1, 10.1.0.2]}, addresses: [10.1.0.20/24]}\n")
	l.eventually("an address of its own, and questions", func() bool {
		return perm("bond0") == "52:54:00:aa:00:01" && strings.Contains(bonding("bond0"), "ARP IP target/s (n.n.n.n form): 10.1.0.1, 10.1.0.2")
	})
	l.configure("  bond0: {bond: {members: [port1, port0]}, addresses: [10.1.0.20/24]}\n")
	l.eventually("the address of the first member again", func() bool { return perm("bond0") == first })
}

// The first member's driver is loaded after the second one's. By the address in the
// file, the bond has its own from the start.
func TestBondOfALateFirstMember(t *testing.T) {
	if left, err := netlink.LinkByName("bond0"); err == nil { // of the test before
		lab.Must(t, netlink.LinkDel(left))
	}
	l := newVLAN(t)
	l.cable("port1")
	l.configure("  left: {mac: '52:54:00:aa:00:02'}\n  bond0: {bond: {members: [left, port1]}, addresses: [10.1.0.20/24]}\n")
	l.start()
	l.eventually("the second member", func() bool { return memberOf("port1", "bond0") })
	if got := perm("bond0"); got != "52:54:00:aa:00:02" {
		t.Errorf("the bond's address is %s, want that of its first member", got)
	}
}

// cableFrom joins an interface of that address with the network.
func (l *vlan) cableFrom(node, mac string) {
	l.t.Helper()
	l.cable(node)
	nl, err := netlink.LinkByName(node)
	lab.Must(l.t, err)
	address, err := net.ParseMAC(mac)
	lab.Must(l.t, err)
	lab.Must(l.t, netlink.LinkSetHardwareAddr(nl, address))
}

// partner makes a bond of the network's ends of the cables that are there later.
func (l *vlan) partner() {
	l.t.Helper()
	l.outside(func() error {
		bond := netlink.NewLinkBond(newAttrs("x-bond"))
		bond.Mode, bond.LacpRate, bond.Miimon = netlink.BOND_MODE_802_3AD, netlink.BOND_LACP_RATE_FAST, 50
		if err := netlink.LinkAdd(bond); err != nil {
			return err
		}
		return up("x-bond")
	})
}

func (l *vlan) aggregate(name string) {
	l.t.Helper()
	l.outside(func() error {
		nl, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetDown(nl); err != nil {
			return err
		}
		return netlink.LinkSetMasterByIndex(nl, index("x-bond"))
	})
}

func carrier(name string) bool {
	nl, err := netlink.LinkByName(name)
	return err == nil && nl.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
}

// Members are found by a pattern, more of them than the file has names, and one comes
// late: only then, the bond has as many links as it is to have.
func TestBondOfMembersByPattern(t *testing.T) {
	l := newVLAN(t)
	l.partner()
	l.cableFrom("port0", "52:54:00:bb:00:01")
	l.aggregate("x-port0")
	l.configure("  fast: {match: {mac: '52:54:00:bb:*'}}\n  bond0: {bond: {members: [fast], mode: 802.3ad, lacpRate: fast, minLinks: 2}, addresses: [10.1.0.20/24]}\n")
	l.start()
	l.eventually("the first member, and the other side", func() bool {
		got := bonding("bond0")
		_, partner, _ := strings.Cut(got, "Partner Mac Address: ")
		return memberOf("port0", "bond0") && partner != "" && !strings.HasPrefix(partner, "00:00:00:00:00:00")
	})
	if carrier("bond0") {
		t.Error("the bond has a carrier with one link, and is to have two")
	}
	l.cableFrom("port1", "52:54:00:bb:00:02")
	l.aggregate("x-port1")
	l.eventually("the late member, and a carrier", func() bool { return memberOf("port1", "bond0") && carrier("bond0") })
}

// The name of an entry is no interface's if the entry says which one it is for: a card
// that has this name by chance is another one.
func TestNameOfAnotherCard(t *testing.T) {
	l := newVLAN(t)
	l.cableFrom("port0", "52:54:00:cc:00:01")
	l.cableFrom("port1", "52:54:00:cc:00:02")
	l.configure("  port0: {mac: '52:54:00:cc:00:02'}\n  lan: {vlan: {id: 5, parent: port0}, addresses: [10.5.0.20/24]}\n")
	l.start()
	l.eventually("the VLAN on the card that is meant", func() bool {
		_, parent := vlanOf("lan")
		return has("lan", "10.5.0.20/24") && parent == index("port1")
	})
	if strings.Contains(l.String(), "lan: replaced") {
		t.Error("the VLAN was on another card before")
	}
}

// Members found by MAC keep being found when the bond has changed that.
func TestBondOfMembersByMAC(t *testing.T) {
	l := newVLAN(t)
	l.cable("port0")
	l.cable("port1")
	macs := map[string]string{}
	for _, name := range []string{"port0", "port1"} {
		nl, err := netlink.LinkByName(name)
		lab.Must(t, err)
		macs[name] = nl.Attrs().HardwareAddr.String()
	}
	l.configure("  left: {mac: '" + macs["port0"] + "'}\n  right: {mac: '" + macs["port1"] + "'}\n  bond0: {bond: {members: [left, right]}, addresses: [10.1.0.20/24]}\n")
	stop := l.start()
	ready := func() bool {
		return memberOf("port0", "bond0") && memberOf("port1", "bond0") && has("bond0", "10.1.0.20/24")
	}
	l.eventually("the bond", ready)
	stop()
	bond0 := index("bond0")
	l.start()
	l.configure("  left: {mac: '" + macs["port0"] + "'}\n  right: {mac: '" + macs["port1"] + "'}\n  bond0: {bond: {members: [left, right]}, addresses: [10.1.0.21/24]}\n")
	l.eventually("another address", func() bool { return has("bond0", "10.1.0.21/24") })
	if !memberOf("port0", "bond0") || !memberOf("port1", "bond0") || index("bond0") != bond0 {
		t.Error("the bond was touched")
	}
}
