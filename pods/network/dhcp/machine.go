package dhcp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// State is a state of the client as RFC 2131, figure 5, names it; NoLink is
// ours.
type State int

// The states; the package's documentation has the diagram.
const (
	NoLink     State = iota
	Rebooting        // asks whether the address of before may still be used
	Selecting        // asks for offers
	Requesting       // accepts one
	Bound            // has a lease and nothing to do
	Renewing         // asks its server for more time
	Rebinding        // asks any server for more time
)

// String returns the state's name as RFC 2131 spells it.
func (s State) String() string {
	return [...]string{"NO LINK", "REBOOTING", "SELECTING", "REQUESTING", "BOUND", "RENEWING", "REBINDING"}[s]
}

// Outside is what a Machine acts on.
type Outside interface {
	// Send sends p to one server, or to everyone if to is not valid. A lost
	// message is repeated later, so there is nothing to return.
	Send(p *dhcpv4.DHCPv4, to netip.Addr)
	// Apply brings a lease into use in place of old, which is nil for a first
	// one, and the same lease with earlier times for a renewal.
	Apply(l, old *Lease) error
	// Drop takes a lease out of use.
	Drop(l *Lease)
}

const (
	firstWait     = time.Second // RFC 2131 says 4 s; a boot is too short for that
	longestWait   = 64 * time.Second
	rebootTries   = 3 // 7 s, then the network is taken for a new one
	requestTries  = 4
	complainAfter = 15 * time.Second
)

// Machine is the client's state machine. It does nothing by itself: the caller
// tells it what happened and when, and calls Tick no later than Wake. It is not
// safe for concurrent use.
type Machine struct {
	Identity func() Identity // asked for each message: a hostname may come late
	Outside  Outside
	Log      func(format string, args ...any)
	Jitter   func() float64 // a random number from 0 to 1; nil for a real one

	state   State
	lease   *Lease     // in use, or remembered and not expired
	last    netip.Addr // the latest address, to ask for it again
	offer   *Lease
	xid     dhcpv4.TransactionID
	began   time.Duration // when the exchange began
	tries   int           // messages sent in this exchange
	setback int           // attempts in a row that failed after an offer
	wake    time.Duration
}

// Resume makes the machine remember a lease from before a restart.
func (m *Machine) Resume(l *Lease) {
	m.lease, m.last = l, l.Address.Addr()
}

// State returns the state that the machine is in.
func (m *Machine) State() State { return m.state }

// Wake returns when Tick is to be called next.
func (m *Machine) Wake() time.Duration {
	wake := m.wake
	if m.state == NoLink {
		wake = Forever
	}
	if m.lease != nil {
		wake = min(wake, m.lease.Expiry)
	}
	return wake
}

// LinkUp says that the interface can send.
func (m *Machine) LinkUp(now time.Duration) {
	switch {
	case m.state != NoLink:
	case m.lease != nil:
		m.Log("link is up, asking for %s again", m.lease.Address)
		m.enter(Rebooting, now)
	default:
		m.Log("link is up, looking for a DHCP server")
		m.enter(Selecting, now)
	}
}

// LinkDown says that the interface lost its carrier. The lease stays in use
// until it expires: most links come back.
func (m *Machine) LinkDown() {
	if m.state != NoLink {
		m.Log("link is down")
		m.state = NoLink
	}
}

// Tick does what is due.
func (m *Machine) Tick(now time.Duration) {
	if m.lease != nil && now >= m.lease.Expiry {
		m.drop(now, "the lease expired")
		return
	}
	if now < m.Wake() {
		return
	}
	switch {
	case m.state == Bound:
		m.enter(Renewing, now)
	case m.state == Renewing && now >= m.lease.Rebind:
		m.Log("%s does not answer, asking every server to extend the lease", m.lease.Server)
		m.enter(Rebinding, now)
	case m.state == Rebooting && m.tries >= rebootTries:
		m.Log("nobody answers for %s, looking for a DHCP server", m.lease.Address)
		m.enter(Selecting, now)
	case m.state == Requesting && m.tries >= requestTries:
		m.restart(now, fmt.Sprintf("%s offered %s and then fell silent", m.offer.Server, m.offer.Address))
	default:
		m.transmit(now)
	}
}

// Receive takes in a message that arrived on the interface.
func (m *Machine) Receive(now time.Duration, p *dhcpv4.DHCPv4) {
	if !m.awaits(p) {
		return
	}
	if p.MessageType() == dhcpv4.MessageTypeNak {
		m.refused(now, p)
		return
	}
	l, err := leaseFrom(p, now)
	if err != nil {
		m.Log("ignoring an answer from %s: %v", p.ServerIdentifier(), err)
		return
	}
	if m.state == Selecting {
		m.offer = l
		m.state, m.tries = Requesting, 0 // same transaction as the offer
		m.transmit(now)
		return
	}
	m.bind(now, l)
}

// awaits reports whether p answers what was sent last.
func (m *Machine) awaits(p *dhcpv4.DHCPv4) bool {
	if p.OpCode != dhcpv4.OpcodeBootReply || p.TransactionID != m.xid ||
		!bytes.Equal(p.ClientHWAddr, m.Identity().HardwareAddr) {
		return false
	}
	switch m.state {
	case Selecting:
		return p.MessageType() == dhcpv4.MessageTypeOffer
	case Requesting, Rebooting, Renewing, Rebinding:
		return p.MessageType() == dhcpv4.MessageTypeAck || p.MessageType() == dhcpv4.MessageTypeNak
	}
	return false
}

func (m *Machine) refused(now time.Duration, p *dhcpv4.DHCPv4) {
	reason := fmt.Sprintf("%s refused it", p.ServerIdentifier())
	if text := p.Message(); text != "" {
		reason += fmt.Sprintf(" (%q)", text)
	}
	m.last = netip.Addr{}
	if m.state == Requesting {
		m.restart(now, reason)
		return
	}
	m.drop(now, reason)
}

func (m *Machine) bind(now time.Duration, l *Lease) {
	old := m.lease
	if err := m.Outside.Apply(l, old); err != nil {
		m.restart(now, fmt.Sprintf("cannot use %s: %v", l.Address, err))
		return
	}
	m.lease, m.last = l, l.Address.Addr()
	m.state, m.wake, m.setback = Bound, l.Renew, 0
	if old != nil && old.Address == l.Address {
		m.Log("%s extended by %s", l.Address, l.length(now))
		return
	}
	m.Log("%s", l.describe(now))
}

// drop takes the lease out of use and, with a link, starts over.
func (m *Machine) drop(now time.Duration, reason string) {
	m.Log("giving up %s: %s", m.lease.Address, reason)
	m.Outside.Drop(m.lease)
	m.lease = nil
	if m.state != NoLink {
		m.enter(Selecting, now)
	}
}

// restart starts over after an offer came to nothing, each time later: a server
// that offers and then refuses would otherwise be asked without a pause.
func (m *Machine) restart(now time.Duration, reason string) {
	wait := m.backoff(m.setback)
	m.setback++
	m.Log("%s; starting over in %s", reason, wait.Round(100*time.Millisecond))
	m.begin(Selecting, now)
	m.wake = now + wait
}

func (m *Machine) enter(s State, now time.Duration) {
	m.begin(s, now)
	m.transmit(now)
}

func (m *Machine) begin(s State, now time.Duration) {
	m.state, m.began, m.tries = s, now, 0
	random := rand.Uint32()
	m.xid = dhcpv4.TransactionID{byte(random >> 24), byte(random >> 16), byte(random >> 8), byte(random)}
}

// transmit sends the message of the state, and says when to repeat it.
func (m *Machine) transmit(now time.Duration) {
	if m.state == Selecting && m.tries > 0 && now-m.began >= complainAfter {
		m.Log("no DHCP server has answered for %s, still asking", (now - m.began).Round(time.Second))
	}
	m.Outside.Send(m.message(now))
	m.wake = now + m.wait(now)
	m.tries++
}

// message returns the message of the state and its destination, as RFC 2131,
// table 5, composes them.
func (m *Machine) message(now time.Duration) (*dhcpv4.DHCPv4, netip.Addr) {
	kind := dhcpv4.MessageTypeRequest
	if m.state == Selecting {
		kind = dhcpv4.MessageTypeDiscover
	}
	p := m.Identity().message(kind, m.xid, now-m.began)
	switch m.state {
	case Selecting:
		if m.last.IsValid() {
			requestAddress(p, m.last)
		}
	case Requesting:
		requestAddress(p, m.offer.Address.Addr())
		nameServer(p, m.offer.Server)
	case Rebooting:
		requestAddress(p, m.lease.Address.Addr())
	case Renewing:
		p.ClientIPAddr = m.lease.Address.Addr().AsSlice()
		return p, m.lease.Server
	case Rebinding:
		p.ClientIPAddr = m.lease.Address.Addr().AsSlice()
	}
	return p, netip.Addr{}
}

func (m *Machine) wait(now time.Duration) time.Duration {
	switch m.state {
	case Renewing:
		return m.halfway(now, m.lease.Rebind)
	case Rebinding:
		return m.halfway(now, m.lease.Expiry)
	}
	return m.backoff(m.tries)
}

// halfway returns half of the time that is left, at least a minute (RFC 2131,
// section 4.4.5), or less for leases so short that a minute is much of them.
func (m *Machine) halfway(now, deadline time.Duration) time.Duration {
	left := deadline - now
	least := min(max((m.lease.Expiry-m.lease.Renew)/16, time.Second), time.Minute)
	return min(max(left/2, least), left)
}

// backoff returns 1, 2, 4 ... 64 seconds, each up to a quarter more or less so
// that machines that boot together do not stay in step.
func (m *Machine) backoff(tries int) time.Duration {
	wait := min(firstWait<<min(tries, 16), longestWait)
	jitter := m.Jitter
	if jitter == nil {
		jitter = rand.Float64
	}
	return wait*3/4 + time.Duration(jitter()*float64(wait/2))
}

func (l *Lease) length(now time.Duration) string {
	if l.Expiry == Forever {
		return "an unlimited time"
	}
	return (l.Expiry - now).Round(time.Second).String()
}

// describe says in one line what the lease brings.
func (l *Lease) describe(now time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s from %s for %s", l.Address, l.Server, l.length(now))
	for _, r := range l.Routes {
		fmt.Fprintf(&b, ", %s", r)
	}
	if len(l.DNS) > 0 {
		fmt.Fprintf(&b, ", DNS %s", strings.Trim(fmt.Sprint(l.DNS), "[]"))
	}
	if len(l.Search) > 0 {
		fmt.Fprintf(&b, ", search %s", strings.Join(l.Search, " "))
	}
	if l.MTU > 0 {
		fmt.Fprintf(&b, ", MTU %d", l.MTU)
	}
	return b.String()
}

// String returns "TO via GATEWAY", or "TO on the link".
func (r Route) String() string {
	to := r.To.String()
	if r.To.Bits() == 0 {
		to = "default"
	}
	if !r.Via.IsValid() {
		return to + " on the link"
	}
	return to + " via " + r.Via.String()
}
