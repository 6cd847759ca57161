package dhcp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"kios/pods/network/arp"
	"kios/pods/network/lease"
)

// check finds out whether another machine has the address. RFC 5227 waits some
// seconds for that before the address is used, which each boot would pay for. This
// one asks while the request is under way, uses the address as soon as the server
// has confirmed it, and goes on asking for some seconds. An address that another
// machine claims in that time is not used, and is asked for once more after a pause.
// It is given back only if the same machine claims it then, too: servers give an
// address that was declined to nobody for minutes, and where it is reserved for this
// machine, they have no other one. One packet must not cost that.
//
// Later claims mean nothing: anybody on the link could take the address away by
// them. And claims have an end: at last an address is used, whoever claims it.
type check struct {
	addr   netip.Addr       // that is requested or announced
	asking bool             // whether another machine has it
	rival  net.HardwareAddr // who claims it
	step   int              // since the address came into use
	next   time.Duration    // when the step is due

	// What came before, until an address has passed the check.
	claims   int              // that kept the machine from an address
	suspect  arp.Claim        // the latest of them
	declined net.HardwareAddr // who claimed the latest address that was given back
	insists  bool             // the next address is used, whoever claims it
}

const (
	steps        = 3 // probes, but for:
	announcement = 1 // again, two seconds after the first (RFC 5227, section 2.3)
	stepEvery    = time.Second

	afterClaim = 10 * time.Second // at least (RFC 2131, section 3.1)
	mostClaims = 6                // three addresses, each asked about twice, in a minute

	// patience is for how long the machine hopes for another address than the one that
	// it gave back.
	patience = 30 * time.Second
)

// beginCheck asks whether another machine has the address.
func (m *Machine) beginCheck(p netip.Prefix) {
	m.endCheck()
	if p.IsSingleIP() {
		return // nobody shares a subnet with it, and routers may answer for everything
	}
	m.check.addr, m.check.asking = p.Addr(), true
	m.try(m.outside.Watch(m.check.addr))
	m.try(m.outside.Probe(m.check.addr))
}

// endCheck leaves it at that.
func (m *Machine) endCheck() {
	m.stopAsking()
	m.check.addr, m.check.rival, m.check.next = netip.Addr{}, nil, lease.Forever
}

func (m *Machine) stopAsking() {
	if m.check.asking {
		m.try(m.outside.Watch(netip.Addr{}))
	}
	m.check.asking = false
}

// goOnChecking checks an address that came into use.
func (m *Machine) goOnChecking(now time.Duration, p netip.Prefix) {
	if m.check.addr != p.Addr() {
		m.beginCheck(p)
	}
	m.announce(now, p)
}

// announce tells the link that the address is here: other machines may know it
// elsewhere. Without a check nobody's claims are heard: the machine has had the
// address before, and a link that returns is no reason to let it be taken away.
func (m *Machine) announce(now time.Duration, p netip.Prefix) {
	m.try(m.outside.Announce(p.Addr()))
	m.check.addr, m.check.step, m.check.next = p.Addr(), 0, now+stepEvery
}

// goOn does the next step of the check.
func (m *Machine) goOn(now time.Duration) {
	if m.Lease() == nil || m.check.step == steps {
		m.endCheck()
		m.check = check{next: lease.Forever}
		return
	}
	if m.check.step == announcement {
		m.try(m.outside.Announce(m.check.addr))
	} else if m.check.asking {
		m.try(m.outside.Probe(m.check.addr))
	}
	m.check.step++
	m.check.next = now + stepEvery
}

// try logs what the check could not do, which is no reason not to use an address.
func (m *Machine) try(err error) {
	if err != nil && !errors.Is(err, net.ErrClosed) {
		m.Log("whether another machine has the address is not known: %v", err)
	}
}

// Claimed takes in another machine's claim to an address.
func (m *Machine) Claimed(now time.Duration, c arp.Claim) {
	if !m.check.asking || c.Addr != m.check.addr || m.check.rival != nil {
		return
	}
	m.check.rival = c.By
	switch {
	case m.tolerates(c):
		m.stopAsking() // the claims may go on
		m.Log("%s claims %s after earlier claims: using it anyway", c.By, c.Addr)
	case m.State() == Bound:
		m.yield(now, m.Lease())
	}
}

// tolerates reports whether a claim counts no more. A machine that claims one address
// after the other is a router that answers for everything, or means harm.
func (m *Machine) tolerates(c arp.Claim) bool {
	before := m.check.suspect
	another := bytes.Equal(c.By, before.By) && c.Addr != before.Addr
	return m.check.insists || m.check.claims == mostClaims || another || bytes.Equal(c.By, m.check.declined)
}

// isClaimed reports whether another machine claims the address.
func (m *Machine) isClaimed(addr netip.Addr) bool {
	c := arp.Claim{Addr: m.check.addr, By: m.check.rival}
	return c.By != nil && c.Addr == addr && !m.tolerates(c)
}

// yield takes an address out of use that another machine claims, and starts over. If
// that is the second time, it gives the address back.
func (m *Machine) yield(now time.Duration, l *Lease) {
	before, c := m.check.suspect, arp.Claim{Addr: l.Address.Addr(), By: m.check.rival}
	m.check.claims, m.check.suspect = m.check.claims+1, c
	if old := m.Lease(); old != nil && old.Address == l.Address {
		m.Discard()
	}
	m.endCheck()
	reason := fmt.Sprintf("%s claims %s, asking for it once more before it is given back", c.By, l)
	if m.last = c.Addr; c.Addr == before.Addr && bytes.Equal(c.By, before.By) {
		m.decline(l)
		m.check.declined = c.By
		reason = fmt.Sprintf("%s has %s, giving it back to %s", c.By, l, l.Server)
	}
	m.RestartAfter(now, afterClaim, reason)
}

// decline gives an address back.
func (m *Machine) decline(l *Lease) {
	p := m.identity().message(dhcpv4.MessageTypeDecline, m.xid, 0)
	requestAddress(p, l.Address.Addr())
	nameServer(p, l.Server)
	m.outside.Send(p, netip.Addr{})
	m.last = netip.Addr{}
}

// insist makes the machine use the next address whoever claims it, if nobody has
// offered one since it gave one back: the server may have no other one, and then any
// claim would cost the node its network again.
func (m *Machine) insist(elapsed time.Duration) {
	if m.check.declined == nil || m.check.insists || elapsed < patience {
		return
	}
	m.check.insists = true
	m.Log("nobody has offered an address since %s was given back: the next one is used, whoever claims it", m.check.suspect.Addr)
}

// Wake returns when Tick is to be called next.
func (m *Machine) Wake() time.Duration { return min(m.Client.Wake(), m.check.next) }

// Tick does what is due.
func (m *Machine) Tick(now time.Duration) {
	if now >= m.check.next {
		m.goOn(now)
	}
	m.Client.Tick(now)
}
