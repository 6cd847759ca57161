package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kios/internal/boottime"
	"kios/pods/network/dhcp"
	"kios/pods/network/dhcp6"
	"kios/pods/network/ndisc"
	"kios/pods/network/netconf"
)

// port is an interface that is ours to configure.
type port struct {
	*Service
	link  // as it was at the start, but for up and carrier
	conf  *netconf.Interface
	begun bool

	ctx     context.Context // of its DHCP clients
	cancel  context.CancelFunc
	clients sync.WaitGroup
	v4      *client4 // nil without DHCPv4
	v6      *client6 // nil while no router advertises DHCPv6

	mu sync.Mutex // held while static addresses and routes are set: clients do it, too
}

type client4 struct {
	conn *dhcp.Conn
	up   chan bool
}

type client6 struct {
	stateful bool
	up       chan bool
	end      context.CancelFunc
	done     chan struct{}
}

// start makes the interface a port.
func (s *Service) start(ctx context.Context, l link, conf *netconf.Interface) *port {
	p := &port{Service: s, link: l, conf: conf}
	p.carrier = false // until linkChanged says so
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// begin brings the interface up with what the file says and begins to ask for
// the rest.
func (p *port) begin() error {
	if err := p.bringUp(); err != nil {
		return err
	}
	kept, err := p.store.load(p.name, p.mac, boottime.Now())
	if err != nil {
		p.logf("starting without what is known from before: %v", err)
	}
	p.dropLeases()
	if static := p.static(); len(static.addresses)+len(static.routes) > 0 {
		p.logf("%s, from the file", static)
	}
	p.applyStatic()
	if err := p.restoreLeases(kept); err != nil {
		p.logf("%v", err)
	}
	p.offers.set(p.index, byFile, learned{DNS: p.conf.DNS, Search: p.conf.Search, NTP: p.conf.NTP})
	if p.conf.DHCP4 {
		if err := p.startDHCP4(kept.Lease); err != nil {
			return err
		}
	}
	if p.conf.DHCP6 && kept.Lease6 != nil {
		p.startDHCP6(len(kept.Lease6.Addresses) > 0)
	}
	if e, ok := p.adverts[p.index]; ok {
		p.advertised(e)
	}
	return nil
}

// linkChanged takes in the state of the interface.
func (p *port) linkChanged(l link) {
	if !p.begun {
		if err := p.begin(); err != nil {
			p.logf("%v", err) // once more when something changes
			return
		}
		p.begun = true
	} else if l.up && !p.up {
		// Somebody set it down, which has cost it routes and IPv6 addresses.
		p.applyStatic()
	}
	p.up = l.up
	if l.carrier == p.carrier {
		return
	}
	p.carrier = l.carrier
	if p.v4 != nil {
		p.v4.up <- l.carrier
	}
	if p.v6 != nil {
		p.v6.up <- l.carrier
	}
}

// stop ends the clients. The interface keeps what it has.
func (p *port) stop() {
	p.cancel()
	if p.v4 != nil {
		p.v4.conn.Close()
	}
	p.clients.Wait()
}

func (p *port) logf(format string, args ...any) {
	p.Log.Printf(p.name+": "+format, args...)
}

func (p *port) bringUp() error {
	// Before the interface is up, because that is when the kernel asks for
	// routers. Without IPv6 the rest still works.
	late, err := p.acceptRA()
	if err != nil {
		p.logf("IPv6 addresses may be missing: %v", err)
	}
	p.setMTU()
	nl, err := netlink.LinkByIndex(p.index)
	if err != nil {
		return fmt.Errorf("find interface %d: %w", p.index, err)
	}
	if err := netlink.LinkSetUp(nl); err != nil {
		return fmt.Errorf("bring it up: %w", err)
	}
	if late && p.up {
		if err := ndisc.Solicit(p.index); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			p.logf("%v", err)
		}
	}
	p.up = true
	return nil
}

// acceptRA makes the kernel take IPv6 router advertisements on the interface
// even though the machine forwards packets, or take none. Only here, not as a
// default for all interfaces: a pod must not be able to give the node a route
// through itself. It reports whether it is news to the kernel that it may.
func (p *port) acceptRA() (news bool, err error) {
	want := "0"
	if p.conf.RA {
		want = "2"
	}
	path := filepath.Join(p.ProcSysNet, "ipv6/conf", p.name, "accept_ra")
	have, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // a kernel without IPv6
	}
	if err != nil || strings.TrimSpace(string(have)) == want {
		return false, err
	}
	return p.conf.RA, os.WriteFile(path, []byte(want), 0)
}

// setMTU sets the MTU of the file, or, when that does not name one any more, the
// one of before.
func (p *port) setMTU() {
	nl, err := netlink.LinkByIndex(p.index)
	if err != nil {
		return // it goes away
	}
	kept, _ := p.store.load(p.name, p.mac, 0) // an error is logged elsewhere
	want, before := p.conf.MTU, nl.Attrs().MTU
	if want == 0 {
		want, before = kept.MTU, 0
	} else if kept.MTU != 0 {
		before = kept.MTU
	}
	if want == 0 || p.blind.Load() {
		return
	}
	if nl.Attrs().MTU != want {
		if err := netlink.LinkSetMTU(nl, want); err != nil {
			p.logf("set MTU %d: %v", want, err)
			return
		}
	}
	if before != kept.MTU {
		p.remember(func(r *record) { r.MTU = before })
	}
}

func (p *port) static() static { return static{p.index, p.conf.Addresses, p.conf.Routes} }

// applyStatic sets the addresses and routes of the file, and removes those that
// were in it once.
func (p *port) applyStatic() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blind.Load() {
		return
	}
	for _, err := range p.static().apply() {
		p.logf("%v", err)
	}
}

// dropLeases removes the leases from before that the file does not allow.
func (p *port) dropLeases() {
	kept, _ := p.store.load(p.name, p.mac, boottime.Now())
	if p.conf.DHCP4 {
		kept.Lease = nil
	}
	if p.conf.DHCP6 {
		kept.Lease6 = nil
	}
	if kept.Lease == nil && kept.Lease6 == nil {
		return
	}
	err := errors.Join(
		removeLease(p.index, kept.Lease, p.conf.Addresses),
		removeLease6(p.index, kept.Lease6, nil, p.conf.Addresses))
	if err != nil {
		p.logf("%v", err)
	}
	if kept.Lease != nil {
		p.offers.set(p.index, byDHCP4, learned{})
	}
	if kept.Lease6 != nil {
		p.offers.set(p.index, byDHCP6, learned{})
	}
	p.remember(func(r *record) {
		if kept.Lease != nil {
			r.Lease = nil
		}
		if kept.Lease6 != nil {
			r.Lease6 = nil
		}
	})
}

// restoreLeases sets what may have gone with an address of the file, as the
// clients say nothing before their servers answer.
func (p *port) restoreLeases(kept record) error {
	var errs []error
	if p.conf.DHCP4 && kept.Lease != nil {
		errs = append(errs, applyLease(p.index, kept.Lease, nil, boottime.Now()))
	}
	if p.conf.DHCP6 && kept.Lease6 != nil {
		errs = append(errs, applyLease6(p.index, kept.Lease6, nil, boottime.Now()))
	}
	return errors.Join(errs...)
}

// remember keeps something over a restart, or says that it does not.
func (p *port) remember(change func(*record)) {
	if err := p.store.update(p.name, p.mac, change); err != nil {
		p.logf("this will not survive a restart of the pod: %v", err)
	}
}

func (p *port) startDHCP4(from *dhcp.Lease) error {
	conn, err := dhcp.Listen(p.index, p.name)
	if err != nil {
		return err
	}
	p.v4 = &client4{conn, make(chan bool, 16)}
	m := &dhcp.Machine{Identity: p.identity, Outside: p, Log: p.logf}
	if from != nil {
		m.Resume(from)
		p.offers.set(p.index, byDHCP4, learned4(from))
	}
	p.clients.Go(func() {
		if err := dhcp.Run(p.ctx, m, p.v4.up, conn.Replies()); err != nil {
			p.fail(p.name, err)
		}
	})
	return nil
}

func (p *port) identity() dhcp.Identity {
	return dhcp.Identity{HardwareAddr: p.mac, Hostname: hostname()}
}

// Send implements dhcp.Outside.
func (p *port) Send(m *dhcpv4.DHCPv4, to netip.Addr) {
	if err := p.v4.conn.Send(m, to); err != nil && !errors.Is(err, net.ErrClosed) {
		p.logf("send %s: %v", m.MessageType(), err)
	}
}

// Apply implements dhcp.Outside.
func (p *port) Apply(l, old *dhcp.Lease) error {
	if p.conf.MTU == 0 && l.MTU != 0 {
		if err := setLeasedMTU(p.index, l.MTU); err != nil {
			return err
		}
	}
	if err := applyLease(p.index, l, old, boottime.Now()); err != nil {
		return err
	}
	p.remember(func(r *record) { r.Lease = l })
	if old == nil || old.Address != l.Address {
		p.restoreStatic()
	}
	p.offers.set(p.index, byDHCP4, learned4(l))
	return nil
}

func setLeasedMTU(index, mtu int) error {
	nl, err := netlink.LinkByIndex(index)
	if err != nil {
		return fmt.Errorf("find interface %d: %w", index, err)
	}
	if nl.Attrs().MTU == mtu {
		return nil
	}
	if err := netlink.LinkSetMTU(nl, mtu); err != nil {
		return fmt.Errorf("set MTU %d: %w", mtu, err)
	}
	return nil
}

// Drop implements dhcp.Outside.
func (p *port) Drop(l *dhcp.Lease) {
	if err := removeLease(p.index, l, p.conf.Addresses); err != nil {
		p.logf("%v", err)
	}
	p.remember(func(r *record) { r.Lease = nil })
	p.restoreStatic()
	p.offers.set(p.index, byDHCP4, learned{})
}

// restoreStatic sets what may have gone with an address of DHCP: other addresses
// of its subnet, and with the last address all routes.
func (p *port) restoreStatic() {
	if len(p.conf.Addresses)+len(p.conf.Routes) > 0 {
		p.applyStatic()
	}
}

// advertised takes in what routers say. A client that runs goes on when they
// change their mind: its server will tell it.
func (p *port) advertised(e ndisc.Event) {
	if !p.conf.RA {
		e = ndisc.Event{}
	}
	p.offers.set(p.index, byRouter, learnedRA(e))
	if !p.conf.DHCP6 || !e.Managed && !e.Other || p.v6 != nil && (p.v6.stateful || !e.Managed) {
		return
	}
	if p.v6 != nil {
		p.v6.end()
		<-p.v6.done
	}
	p.startDHCP6(e.Managed)
}

func (p *port) startDHCP6(stateful bool) {
	kept, _ := p.store.load(p.name, p.mac, boottime.Now())
	ctx, end := context.WithCancel(p.ctx)
	p.v6 = &client6{stateful: stateful, up: make(chan bool, 16), end: end, done: make(chan struct{})}
	c := dhcp6.Config{
		Index:    p.index,
		Name:     p.name,
		DUID:     p.duid(),
		IAID:     dhcp6.IAIDFromMAC(p.mac),
		Stateful: stateful,
		Resume:   kept.Lease6,
		Link:     p.v6.up,
		Apply:    p.apply6,
		Drop:     p.drop6,
		Log:      p.logf,
	}
	if kept.Lease6 != nil {
		p.offers.set(p.index, byDHCP6, learned6(kept.Lease6))
	}
	p.v6.up <- p.carrier
	done := p.v6.done
	p.clients.Go(func() {
		defer close(done)
		defer end()
		if err := dhcp6.Run(ctx, c); err != nil && ctx.Err() == nil {
			p.fail(p.name, err)
		}
	})
}

// duid names the machine, and if it has no ID, the card.
func (p *port) duid() []byte {
	id, err := os.ReadFile(p.MachineID)
	if text := strings.TrimSpace(string(id)); err == nil && text != "" {
		return dhcp6.DUIDFromMachineID(text)
	}
	return dhcp6.DUIDFromMAC(p.mac)
}

func (p *port) apply6(l, old *dhcp6.Lease) error {
	if err := applyLease6(p.index, l, old, boottime.Now()); err != nil {
		return err
	}
	p.remember(func(r *record) { r.Lease6 = l })
	p.offers.set(p.index, byDHCP6, learned6(l))
	return nil
}

func (p *port) drop6(l *dhcp6.Lease) {
	if err := removeLease6(p.index, l, nil, p.conf.Addresses); err != nil {
		p.logf("%v", err)
	}
	p.remember(func(r *record) { r.Lease6 = nil })
	p.offers.set(p.index, byDHCP6, learned{})
}
