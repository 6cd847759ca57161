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
// has confirmed it, goes on asking for some seconds, and gives the address back if
// another machine answers in that time.
//
// Later claims mean nothing: anybody on the link could take the address away by
// them.
type check struct {
	addr     netip.Addr       // that is requested or announced
	asking   bool             // whether another machine has it
	rival    net.HardwareAddr // who claims it
	step     int              // since the address came into use
	next     time.Duration    // when the step is due
	declined net.HardwareAddr
	declines int // in a row
}

const (
	steps        = 3 // probes, but for:
	announcement = 1 // again, two seconds after the first (RFC 5227, section 2.3)
	stepEvery    = time.Second

	afterDecline = 10 * time.Second // at least (RFC 2131, section 3.1)
	mostDeclines = 3
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
		m.check.declines, m.check.declined = 0, nil
		m.endCheck()
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
	case m.tolerates(c.By):
		m.stopAsking() // the claims may go on
		m.Log("%s claims %s after others were given back: using it anyway", c.By, c.Addr)
	case m.State() == Bound:
		m.decline(now, m.Lease())
	}
}

// tolerates reports whether claims count no more: a machine that claims one address
// after the other is a router that answers for everything, or means harm.
func (m *Machine) tolerates(by net.HardwareAddr) bool {
	return m.check.declines == mostDeclines || bytes.Equal(by, m.check.declined)
}

// isClaimed reports whether another machine has the address.
func (m *Machine) isClaimed(addr netip.Addr) bool {
	rival := m.check.rival
	return rival != nil && m.check.addr == addr && !m.tolerates(rival)
}

// decline gives an address back that another machine has, and starts over.
func (m *Machine) decline(now time.Duration, l *Lease) {
	rival := m.check.rival
	p := m.identity().message(dhcpv4.MessageTypeDecline, m.xid, 0)
	requestAddress(p, l.Address.Addr())
	nameServer(p, l.Server)
	if old := m.Lease(); old != nil && old.Address == l.Address {
		m.Discard()
	}
	m.outside.Send(p, netip.Addr{})
	m.endCheck()
	m.check.declines, m.check.declined = m.check.declines+1, rival
	m.last = netip.Addr{}
	m.RestartAfter(now, afterDecline, fmt.Sprintf("%s has %s, giving it back to %s", rival, l, l.Server))
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
