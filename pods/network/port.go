package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kios/internal/boottime"
	"kios/pods/network/ndisc"
	"kios/pods/network/netconf"
)

// port is an interface that is ours to configure.
type port struct {
	service *Service
	link    link // as it was at the start, but for up and carrier
	conf    *netconf.Interface
	begun   bool

	ctx      context.Context // of its DHCP clients
	cancel   context.CancelFunc
	v4       *client // nil without DHCPv4
	v6       *client // nil while no router advertises DHCPv6
	stateful bool    // v6 asks for addresses

	mu         sync.Mutex        // held while static addresses and routes are set: clients do it, too
	complaints map[string]string // who said what that could not be set; mu
}

func newPort(ctx context.Context, s *Service, l link, conf *netconf.Interface) *port {
	p := &port{service: s, link: l, conf: conf, complaints: map[string]string{}}
	p.link.carrier = false // until linkChanged says so
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// begin brings the interface up with what the file says and begins to ask for
// the rest.
func (p *port) begin() error {
	if err := p.bringUp(); err != nil {
		return err
	}
	kept, err := p.service.store.load(p.link.name, p.link.mac, boottime.Now())
	if err != nil {
		p.logf("starting without what is known from before: %v", err)
	}
	p.dropLeases()
	if static := p.static(); len(static.addresses)+len(static.routes) > 0 {
		p.logf("%s, from the file", static)
	}
	p.applyStatic()
	p.logErrors(p.restoreLeases(kept))
	p.offer(byFile, learned{DNS: p.conf.DNS, Search: p.conf.Search, NTP: p.conf.NTP})
	if !p.conf.DHCP4 {
		kept.Lease = nil // dropped
	}
	p.routeBySource(kept.Lease)
	return p.startClients(kept)
}

func (p *port) startClients(kept record) error {
	if p.conf.DHCP4 {
		if err := p.startDHCP4(kept.Lease); err != nil {
			return err
		}
	}
	if p.conf.DHCP6 && kept.Lease6 != nil {
		p.startDHCP6(len(kept.Lease6.Addresses) > 0)
	}
	if e, ok := p.service.adverts[p.link.index]; ok {
		p.advertised(e)
	}
	return nil
}

// clients returns the DHCP clients that run.
func (p *port) clients() []*client {
	return slices.DeleteFunc([]*client{p.v4, p.v6}, func(c *client) bool { return c == nil })
}

// linkChanged takes in the state of the interface.
func (p *port) linkChanged(l link) {
	if !p.begun {
		if err := p.begin(); err != nil {
			p.logf("%v", err) // once more when something changes
			return
		}
		p.begun = true
	} else if l.up && !p.link.up {
		// Somebody set it down, which has cost it routes and IPv6 addresses.
		p.applyStatic()
		p.service.sources.restore()
	} else if p.link.up && !l.up {
		p.service.vacate() // that has cost it its routes
	}
	p.link.up = l.up
	if l.carrier == p.link.carrier {
		return
	}
	p.link.carrier = l.carrier
	if l.carrier && len(p.conf.Addresses) > 0 {
		p.announceStatic()
	}
	for _, c := range p.clients() {
		c.setCarrier(l.carrier)
	}
}

// stop ends the clients. The interface keeps what it has.
func (p *port) stop() {
	p.cancel()
	for _, c := range p.clients() {
		c.stop()
	}
}

func (p *port) logf(format string, args ...any) {
	p.service.Log.Printf(p.link.name+": "+format, args...)
}

// logErrors logs an error if there is one.
func (p *port) logErrors(err error) {
	if err != nil {
		p.logf("%v", err)
	}
}

// complain logs what could not be set of what somebody said, unless it said the same
// the last time: a lease is renewed again and again.
func (p *port) complain(who string, errs []error) {
	var lines []string
	for _, err := range errs {
		if err != nil {
			lines = append(lines, strings.Join(strings.Fields(err.Error()), " "))
		}
	}
	text := strings.Join(lines, "; ")
	p.mu.Lock()
	defer p.mu.Unlock()
	if text != "" && text != p.complaints[who] {
		p.logf("not all that %s says can be used: %s", who, text)
	}
	p.complaints[who] = text
}

// offer tells what the interface learned in one way, less what the file ignores.
func (p *port) offer(from origin, l learned) {
	if from != byFile {
		l = p.useful(l)
	}
	p.service.offers.set(p.link.index, from, l)
}

func (p *port) useful(l learned) learned {
	if !p.conf.Takes(netconf.DNS) {
		l.DNS, l.Search = nil, nil
	}
	if !p.conf.Takes(netconf.NTP) {
		l.NTP = nil
	}
	if !p.conf.Takes(netconf.Hostname) {
		l.Hostname = ""
	}
	return l
}

func (p *port) bringUp() error {
	// Before the interface is up, because that is when the kernel asks for
	// routers. Without IPv6 the rest still works.
	late, err := p.acceptRA()
	if err != nil {
		p.logf("IPv6 addresses may be missing: %v", err)
	}
	p.setMTU()
	nl, err := netlink.LinkByIndex(p.link.index)
	if err != nil {
		return fmt.Errorf("find interface %d: %w", p.link.index, err)
	}
	if err := netlink.LinkSetUp(nl); err != nil {
		return fmt.Errorf("bring it up: %w", err)
	}
	if late && p.link.up {
		if err := ndisc.Solicit(p.link.index); !errors.Is(err, unix.EADDRNOTAVAIL) {
			p.logErrors(err)
		}
	}
	p.link.up = true
	return nil
}

// setMTU sets the MTU of the file, or, when that does not name one any more, the
// one of before.
func (p *port) setMTU() {
	nl, err := netlink.LinkByIndex(p.link.index)
	if err != nil {
		return // it goes away
	}
	kept := p.kept()
	want, before := p.conf.MTU, nl.Attrs().MTU
	if want == 0 {
		want, before = kept.MTU, 0
	} else if kept.MTU != 0 {
		before = kept.MTU
	}
	if want == 0 || p.service.blind.Load() {
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

func (p *port) static() static { return static{p.link.index, p.conf.Addresses, p.conf.Routes} }

// applyStatic sets the addresses and routes of the file, and removes those that
// were in it once.
func (p *port) applyStatic() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.service.blind.Load() {
		return
	}
	for _, err := range p.static().apply() {
		p.logf("%v", err)
	}
}

// restoreStatic sets what may have gone with an address of DHCP: other addresses
// of its subnet, and with the last address all routes.
func (p *port) restoreStatic() {
	if len(p.conf.Addresses)+len(p.conf.Routes) > 0 {
		p.applyStatic()
	}
}

// dropLeases removes the leases from before that the file does not allow.
func (p *port) dropLeases() {
	kept := p.kept()
	if kept.Lease != nil && !p.conf.DHCP4 {
		outside4{port: p}.Drop(kept.Lease)
	}
	if kept.Lease6 != nil && !p.conf.DHCP6 {
		outside6{p}.Drop(kept.Lease6)
	}
}

// restoreLeases sets what may have gone with an address of the file, as the
// clients say nothing before their servers answer.
func (p *port) restoreLeases(kept record) error {
	var errs []error
	if p.conf.DHCP4 && kept.Lease != nil {
		_, err := applyLease(p.link.index, kept.Lease, nil, metricOf(p.link.index, p.conf), boottime.Now())
		errs = append(errs, err)
		p.complain("DHCP", p.applyTerms(kept.Lease))
	}
	if p.conf.DHCP6 && kept.Lease6 != nil {
		refused, err := applyLease6(p.link.index, kept.Lease6, nil, boottime.Now())
		errs = append(append(errs, refused...), err)
	}
	return errors.Join(errs...)
}

// kept returns what is kept of the interface and still valid. An error is logged
// elsewhere.
func (p *port) kept() record {
	kept, _ := p.service.store.load(p.link.name, p.link.mac, boottime.Now())
	return kept
}

// remember keeps something over a restart, or says that it does not.
func (p *port) remember(change func(*record)) {
	if err := p.service.store.update(p.link.name, p.link.mac, change); err != nil {
		p.logf("this will not survive a restart of the pod: %v", err)
	}
}
