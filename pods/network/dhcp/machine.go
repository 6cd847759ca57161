package dhcp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"kios/pods/network/dnsname"
	"kios/pods/network/lease"
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
	lease.Outside[*Lease]
	// Send sends p to one server, or to everyone if to is not valid. A lost
	// message is repeated later, so there is nothing to return.
	Send(p *dhcpv4.DHCPv4, to netip.Addr)

	// Watch, Probe and Announce are those of arp.Conn. What they cannot do does not
	// keep a lease from being used.
	Watch(addr netip.Addr) error
	Probe(addr netip.Addr) error
	Announce(addr netip.Addr) error
}

const (
	spread       = 0.25 // of pauses
	rebootTries  = 3    // 7 s, then the network is taken for a new one
	requestTries = 4
)

// Machine is the client's state machine.
type Machine struct {
	*lease.Client[State, *Lease]

	identity func() Identity // asked for each message: a hostname may come late
	outside  Outside

	last  netip.Addr // the latest address, to ask for it again
	offer *Lease
	xid   dhcpv4.TransactionID
	began time.Duration // when the exchange began
	secs  time.Duration // what the latest DISCOVER said about how long ago that was

	check check
}

// NewMachine returns a machine without a link and without a lease.
func NewMachine(identity func() Identity, o Outside, log func(format string, args ...any)) *Machine {
	m := &Machine{identity: identity, outside: o, check: check{next: lease.Forever}}
	m.Client = lease.NewClient(lease.Protocol[State]{
		Bound:  Bound,
		Spread: spread,
		Start:  func() State { return Selecting },
		Begin:  m.begin,
		Send:   m.send,
		Wait:   m.wait,
		Due:    m.due,
	}, o, log)
	return m
}

// Resume makes the machine remember a lease from before a restart.
func (m *Machine) Resume(l *Lease) {
	m.Client.Resume(l)
	m.last = l.Address.Addr()
}

// LinkUp says that the interface can send.
func (m *Machine) LinkUp(now time.Duration) {
	switch {
	case m.State() != NoLink:
	case m.Lease() != nil:
		m.Log("link is up, asking for %s again", m.Lease())
		m.Enter(Rebooting, now)
	default:
		m.Log("link is up, looking for a DHCP server")
		m.Enter(Selecting, now)
	}
}

// LinkDown says that the interface lost its carrier.
func (m *Machine) LinkDown() {
	if m.State() != NoLink {
		m.Log("link is down")
	}
	m.endCheck()
	m.Client.LinkDown()
}

func (m *Machine) begin(now time.Duration) {
	m.began = now
	binary.NativeEndian.PutUint32(m.xid[:], rand.Uint32())
}

func (m *Machine) due(now time.Duration) {
	switch {
	case m.State() == Bound:
		m.Enter(Renewing, now)
	case m.State() == Renewing && now >= m.Lease().Rebind:
		m.Log("%s does not answer, asking every server to extend the lease", m.Lease().Server)
		m.Enter(Rebinding, now)
	case m.State() == Rebooting && m.Tries() >= rebootTries:
		m.Log("nobody answers for %s, looking for a DHCP server", m.Lease())
		m.Enter(Selecting, now)
	case m.State() == Requesting && m.Tries() >= requestTries:
		m.Restart(now, fmt.Sprintf("%s offered %s and then fell silent", m.offer.Server, m.offer))
	default:
		m.Transmit(now)
	}
}

// Receive takes in a message that arrived on the interface.
func (m *Machine) Receive(now time.Duration, raw []byte) {
	id := m.identity()
	if len(raw) > maxPacket || !answers(raw, m.xid, id.HardwareAddr) {
		return
	}
	p, whole := parse(raw)
	if !m.awaits(kindOf(p)) || !meant(p, id) {
		return
	}
	if kindOf(p) == dhcpv4.MessageTypeNak {
		m.refused(now, p)
		return
	}
	l, faults, err := leaseFrom(p, whole, now)
	if err != nil {
		m.Ignore("from %s: %v", serverOf(p), err)
		return
	}
	if m.State() == Selecting {
		m.offer = l
		m.beginCheck(l.Address)
		m.Continue(Requesting, now) // same transaction as the offer
		return
	}
	m.bind(now, l, faults)
}

// awaits reports whether a message of that type answers what was sent last.
func (m *Machine) awaits(kind dhcpv4.MessageType) bool {
	switch m.State() {
	case Selecting:
		return kind == dhcpv4.MessageTypeOffer
	case Requesting, Rebooting, Renewing, Rebinding:
		return kind == dhcpv4.MessageTypeAck || kind == dhcpv4.MessageTypeNak
	}
	return false
}

// meant reports whether a message is meant for this client: a server that knows RFC
// 6842 says so.
func meant(p *dhcpv4.DHCPv4, id Identity) bool {
	named := p.Options.Get(dhcpv4.OptionClientIdentifier)
	return named == nil || bytes.HasPrefix(named, id.clientID()) // it may be there twice
}

func (m *Machine) refused(now time.Duration, p *dhcpv4.DHCPv4) {
	reason := fmt.Sprintf("%s refused it", serverOf(p))
	if text := p.Message(); text != "" {
		reason += fmt.Sprintf(" (%s)", dnsname.Quote(text))
	}
	m.last = netip.Addr{}
	m.endCheck()
	if m.State() == Requesting {
		m.Restart(now, reason)
		return
	}
	m.Drop(now, reason)
}

func (m *Machine) bind(now time.Duration, l *Lease, faults lease.Faults) {
	if m.isClaimed(l.Address.Addr()) {
		m.yield(now, l)
		return
	}
	old, from := m.Lease(), m.State()
	if !m.Use(now, l) {
		m.endCheck()
		return
	}
	m.last = l.Address.Addr()
	m.Succeed()
	same := old != nil && old.Address == l.Address
	if same {
		m.Log("%s extended by %s", l, l.Length(now))
	} else {
		m.Log("%s", l.describe(now))
	}
	m.Mention(l.Server.String(), faults)
	switch {
	case !same || from == Requesting:
		m.goOnChecking(now, l.Address)
	case from == Rebooting:
		m.announce(now, l.Address)
	}
}

// send sends the message of the state.
func (m *Machine) send(now time.Duration) {
	elapsed := now - m.began
	if m.State() == Selecting && m.Tries() > 0 {
		m.Complain("DHCP", elapsed)
		m.insist(elapsed)
	}
	if m.State() != Requesting {
		m.secs = elapsed // a request has what its DISCOVER had (RFC 2131, section 4.4.1)
	}
	m.outside.Send(m.message())
}

// message returns the message of the state and its destination, as RFC 2131,
// table 5, composes them.
func (m *Machine) message() (*dhcpv4.DHCPv4, netip.Addr) {
	kind := dhcpv4.MessageTypeRequest
	if m.State() == Selecting {
		kind = dhcpv4.MessageTypeDiscover
	}
	p := m.identity().message(kind, m.xid, m.secs)
	switch m.State() {
	case Selecting:
		if m.last.IsValid() {
			requestAddress(p, m.last)
		}
	case Requesting:
		requestAddress(p, m.offer.Address.Addr())
		nameServer(p, m.offer.Server)
	case Rebooting:
		requestAddress(p, m.Lease().Address.Addr())
	case Renewing:
		p.ClientIPAddr = m.Lease().Address.Addr().AsSlice()
		return p, m.Lease().Server
	case Rebinding:
		p.ClientIPAddr = m.Lease().Address.Addr().AsSlice()
	}
	return p, netip.Addr{}
}

func (m *Machine) wait(now time.Duration) time.Duration {
	switch m.State() {
	case Renewing:
		return m.halfway(now, m.Lease().Rebind)
	case Rebinding:
		return m.halfway(now, m.Lease().Expiry)
	}
	return m.Backoff(m.Tries())
}

// halfway returns half of the time that is left, at least a minute (RFC 2131,
// section 4.4.5), or less for leases so short that a minute is much of them.
func (m *Machine) halfway(now, deadline time.Duration) time.Duration {
	left := deadline - now
	least := min(max((m.Lease().Expiry-m.Lease().Renew)/16, time.Second), time.Minute)
	return min(max(left/2, least), left)
}
