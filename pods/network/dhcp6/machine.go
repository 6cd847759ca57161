package dhcp6

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"kios/pods/network/lease"
)

// State is a state of the client. RFC 8415 has messages rather than states;
// most of these are named after the message that is repeated in them.
type State int

// The states; the package's documentation has the diagram.
const (
	NoLink     State = iota
	Confirming       // asks whether the addresses of before fit the link
	Soliciting       // asks for offers
	Requesting       // accepts one
	Bound            // has a lease and nothing to do
	Renewing         // asks its server for more time
	Rebinding        // asks any server for more time
	Declining        // tells its server that somebody has the address
	Informing        // asks for what is not an address
)

// String returns the state's name.
func (s State) String() string {
	return [...]string{"NO LINK", "CONFIRMING", "SOLICITING", "REQUESTING", "BOUND", "RENEWING", "REBINDING",
		"DECLINING", "INFORMING"}[s]
}

func (s State) messageType() dhcpv6.MessageType {
	return [...]dhcpv6.MessageType{
		Confirming: dhcpv6.MessageTypeConfirm,
		Soliciting: dhcpv6.MessageTypeSolicit,
		Requesting: dhcpv6.MessageTypeRequest,
		Renewing:   dhcpv6.MessageTypeRenew,
		Rebinding:  dhcpv6.MessageTypeRebind,
		Declining:  dhcpv6.MessageTypeDecline,
		Informing:  dhcpv6.MessageTypeInformationRequest,
	}[s]
}

// Outside is what a Machine acts on.
type Outside interface {
	lease.Outside[*Lease]
	// Send sends p to all servers on the link. A lost message is repeated later,
	// so there is nothing to return.
	Send(p *dhcpv6.Message)
}

const (
	spread       = 0.1 // of pauses: RAND of RFC 8415
	requestTries = 4   // 15 s; RFC 8415 has 10, which is three minutes
	declineTries = 4
	confirmFor   = 10 * time.Second
)

// Identity is who asks, and for what.
type Identity struct {
	DUID     []byte  // who the machine is; see DUIDFromMachineID and DUIDFromMAC
	IAID     [4]byte // which interface it is; see IAIDFromMAC
	Name     string  // of the interface: the zone of link-local servers
	Stateful bool    // ask for addresses, not only for DNS and the like
}

// Machine is the client's state machine.
type Machine struct {
	*lease.Client[State, *Lease]

	id      Identity
	outside Outside

	last       []netip.Addr // the latest addresses, to ask for them again
	offer      *Lease
	preference uint8 // of the offer's server
	declined   netip.Addr
	decliner   []byte // the server that gave it

	xid   dhcpv6.TransactionID
	began time.Duration // when the first message of the exchange was sent
	rt    time.Duration // between the latest message and its repetition

	solMaxRT, infMaxRT time.Duration // from a server; 0: the default
}

// NewMachine returns a machine without a link and without a lease.
func NewMachine(id Identity, o Outside, log func(format string, args ...any)) *Machine {
	m := &Machine{id: id, outside: o}
	m.Client = lease.NewClient(lease.Protocol[State]{
		Bound:  Bound,
		Spread: spread,
		Start:  m.start,
		Begin:  m.begin,
		Send:   m.send,
		Wait:   m.wait,
		Due:    m.due,
	}, o, log)
	return m
}

func (m *Machine) start() State {
	if m.id.Stateful {
		return Soliciting
	}
	return Informing
}

// Resume makes the machine remember a lease from before a restart.
func (m *Machine) Resume(l *Lease) {
	m.Client.Resume(l)
	m.last = l.addrs()
}

// LinkUp says that the interface can send: it has a carrier and a link-local
// address.
func (m *Machine) LinkUp(now time.Duration) {
	switch {
	case m.State() != NoLink:
	case !m.id.Stateful:
		m.Log("asking a DHCPv6 server for everything but an address")
		m.Enter(Informing, now)
	case m.Lease() != nil && len(m.Lease().Addresses) > 0:
		m.Log("link is up, asking whether %s still fits it", m.Lease())
		m.Enter(Confirming, now)
	default:
		m.Log("looking for a DHCPv6 server")
		m.Enter(Soliciting, now)
	}
}

// Duplicate says that another machine on the link has the address.
func (m *Machine) Duplicate(now time.Duration, addr netip.Addr) {
	if m.Lease() == nil || !slices.Contains(m.Lease().addrs(), addr) {
		return
	}
	m.Log("another machine on the link has %s: giving it back", addr)
	m.declined, m.decliner = addr, m.Lease().Server
	m.last = nil
	m.Discard()
	if m.State() != NoLink {
		m.Enter(Declining, now)
	}
}

func (m *Machine) due(now time.Duration) {
	switch {
	case m.State() == Bound && !m.id.Stateful:
		m.Enter(Informing, now)
	case m.State() == Bound && now < m.Lease().Rebind:
		m.Enter(Renewing, now)
	case m.State() == Bound || m.State() == Renewing && now >= m.Lease().Rebind:
		m.Log("the server does not answer, asking every server to extend the lease")
		m.Enter(Rebinding, now)
	case m.State() == Confirming && now-m.began >= confirmFor:
		m.confirm(now, "nobody answers about %s, continuing to use it")
	case m.State() == Soliciting && m.offer != nil:
		m.Enter(Requesting, now)
	case m.State() == Requesting && m.Tries() >= requestTries:
		m.Restart(now, fmt.Sprintf("a server offered %s and then fell silent", m.offer))
	case m.State() == Declining && m.Tries() >= declineTries:
		m.Restart(now, "no server has taken "+m.declined.String()+" back")
	default:
		m.Transmit(now)
	}
}

func (m *Machine) bind(now time.Duration, l *Lease, faults lease.Faults) {
	old, renewed := m.Lease(), m.State() == Renewing || m.State() == Rebinding
	if !m.Use(now, l) {
		return
	}
	m.last, m.offer = l.addrs(), nil
	if renewed {
		m.Succeed() // not earlier: a new address may turn out to be a duplicate
	}
	switch {
	case old == nil || !old.brings(l):
		m.Log("%s", l.describe(now))
	case m.id.Stateful:
		m.Log("%s extended by %s", l, l.Length(now))
	}
	m.Mention("the DHCPv6 server", faults)
}
