package dhcp6

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"kios/pods/network/dhcp"
	"kios/pods/network/hostaddr"
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
	// Send sends p to all servers on the link. A lost message is repeated later,
	// so there is nothing to return.
	Send(p *dhcpv6.Message)
	// Apply brings a lease into use in place of old, which is nil for a first
	// one, and the same lease with earlier times for a renewal.
	Apply(l, old *Lease) error
	// Drop takes a lease out of use.
	Drop(l *Lease)
}

const (
	requestTries  = 4 // 15 s; RFC 8415 has 10, which is three minutes
	declineTries  = 4
	confirmFor    = 10 * time.Second
	complainAfter = 15 * time.Second

	restartFirst   = time.Second // the pause before a new start
	restartLongest = 64 * time.Second
)

// Machine is the client's state machine. It does nothing by itself: the caller
// tells it what happened and when, and calls Tick no later than Wake. It is not
// safe for concurrent use.
type Machine struct {
	DUID     []byte
	IAID     [4]byte
	Name     string // of the interface: the zone of link-local servers
	Stateful bool
	Outside  Outside
	Log      func(format string, args ...any)
	Jitter   func() float64 // a random number from 0 to 1; nil for a real one

	state      State
	lease      *Lease       // in use, or remembered and not expired
	last       []netip.Addr // the latest addresses, to ask for them again
	offer      *Lease
	preference uint8 // of the offer's server
	declined   netip.Addr
	decliner   []byte // the server that gave it

	xid       dhcpv6.TransactionID
	began     time.Duration // when the exchange began
	tries     int           // messages sent in this exchange
	rt        time.Duration // between the latest message and its repetition
	complaint time.Duration // when to say that nobody answers
	setback   int           // attempts in a row that failed after an offer
	wake      time.Duration

	solMaxRT, infMaxRT time.Duration // from a server; 0: the default
}

// Resume makes the machine remember a lease from before a restart.
func (m *Machine) Resume(l *Lease) {
	m.lease, m.last = l, l.addrs()
}

// State returns the state that the machine is in.
func (m *Machine) State() State { return m.state }

// Wake returns when Tick is to be called next.
func (m *Machine) Wake() time.Duration {
	wake := m.wake
	if m.state == NoLink {
		wake = dhcp.Forever
	}
	if m.lease != nil {
		wake = min(wake, m.lease.Expiry)
	}
	return wake
}

// LinkUp says that the interface can send: it has a carrier and a link-local
// address.
func (m *Machine) LinkUp(now time.Duration) {
	switch {
	case m.state != NoLink:
	case !m.Stateful:
		m.Log("asking a DHCPv6 server for what is not an address")
		m.enter(Informing, now)
	case m.lease != nil && len(m.lease.Addresses) > 0:
		m.Log("link is up, asking whether %s still fits it", m.lease)
		m.enter(Confirming, now)
	default:
		m.Log("looking for a DHCPv6 server")
		m.enter(Soliciting, now)
	}
}

// LinkDown says that the interface cannot send any more. The lease stays in use
// until it expires: most links come back.
func (m *Machine) LinkDown() {
	m.state = NoLink
}

// Duplicate says that another machine on the link has the address.
func (m *Machine) Duplicate(now time.Duration, addr netip.Addr) {
	if m.lease == nil || !slices.Contains(m.lease.addrs(), addr) {
		return
	}
	m.Log("another machine on the link has %s: giving it back", addr)
	l := m.lease
	m.lease, m.last = nil, nil
	m.Outside.Drop(l)
	if m.state != NoLink {
		m.declined, m.decliner = addr, l.Server
		m.enter(Declining, now)
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
	case m.state == Bound && !m.Stateful:
		m.enter(Informing, now)
	case m.state == Bound && now < m.lease.Rebind:
		m.enter(Renewing, now)
	case m.state == Bound || m.state == Renewing && now >= m.lease.Rebind:
		m.Log("the server does not answer, asking every server to extend the lease")
		m.enter(Rebinding, now)
	case m.state == Confirming && now-m.began >= confirmFor:
		m.confirm(now, "nobody answers about %s, using it on")
	case m.state == Soliciting && m.offer != nil:
		m.enter(Requesting, now)
	case m.state == Requesting && m.tries >= requestTries:
		m.restart(now, fmt.Sprintf("a server offered %s and then fell silent", m.offer))
	case m.state == Declining && m.tries >= declineTries:
		m.restart(now, "nobody wants "+m.declined.String()+" back")
	default:
		m.transmit(now)
	}
}

// Receive takes in a message that arrived on the interface.
func (m *Machine) Receive(now time.Duration, p *dhcpv6.Message) {
	if !m.awaits(p) {
		return
	}
	m.learnMaxRT(p)
	switch m.state {
	case Confirming:
		m.confirmed(now, p)
	case Informing:
		m.informed(now, p)
	case Declining:
		m.restart(now, "the server has taken "+m.declined.String()+" back")
	case Soliciting:
		m.offered(now, p)
	default:
		m.answered(now, p)
	}
}

// awaits reports whether p answers what was sent last (RFC 8415, section 16).
func (m *Machine) awaits(p *dhcpv6.Message) bool {
	client, server := p.Options.ClientID(), p.Options.ServerID()
	if p.TransactionID != m.xid || client == nil || server == nil || !bytes.Equal(client.ToBytes(), m.DUID) {
		return false
	}
	switch m.state {
	case NoLink, Bound:
		return false
	case Soliciting:
		rapid := p.MessageType == dhcpv6.MessageTypeReply && p.Options.GetOne(dhcpv6.OptionRapidCommit) != nil
		return rapid || p.MessageType == dhcpv6.MessageTypeAdvertise
	}
	return p.MessageType == dhcpv6.MessageTypeReply
}

func (m *Machine) learnMaxRT(p *dhcpv6.Message) {
	if d, ok := maxRT(p, dhcpv6.OptionSolMaxRT); ok {
		m.solMaxRT = d
	}
	if d, ok := maxRT(p, dhcpv6.OptionInfMaxRT); ok {
		m.infMaxRT = d
	}
}

// offered takes in an answer to SOLICIT: an offer, or already the lease.
func (m *Machine) offered(now time.Duration, p *dhcpv6.Message) {
	g, err := grantFrom(p, m.IAID, m.Name, now)
	if err == nil && len(g.Addresses) == 0 {
		err = errNoAddress
	}
	if err != nil {
		m.Log("ignoring an offer: %v", err)
		return
	}
	if p.MessageType == dhcpv6.MessageTypeReply {
		m.bind(now, g.Lease)
		return
	}
	preference := p.Options.Preference()
	if m.offer != nil && preference <= m.preference {
		return
	}
	m.offer, m.preference = g.Lease, preference
	if preference == 0 || preference == 255 || m.tries > 1 {
		m.enter(Requesting, now)
	}
}

// answered takes in the answer to REQUEST, RENEW or REBIND.
func (m *Machine) answered(now time.Duration, p *dhcpv6.Message) {
	g, err := grantFrom(p, m.IAID, m.Name, now)
	if err == nil && m.lease != nil {
		g.keep(m.lease, now)
	}
	if err == nil && len(g.Addresses) == 0 {
		err = errNoAddress
	}
	switch {
	case err == nil:
		m.bind(now, g.Lease)
	case m.state == Requesting:
		m.restart(now, fmt.Sprintf("%s was offered and is then refused: %v", m.offer, err))
	case errors.Is(err, errNoBinding):
		m.Log("the server has forgotten %s, asking for it anew", m.lease)
		m.offer = &Lease{Addresses: m.lease.Addresses, Server: p.Options.ServerID().ToBytes()}
		m.enter(Requesting, now)
	case len(g.withdrawn) > 0:
		m.drop(now, "the server has taken it back")
	default:
		// Another server may do better, or this one later: the lease lasts.
		m.Log("ignoring an answer about %s: %v", m.lease, err)
	}
}

// confirmed takes in the answer to CONFIRM.
func (m *Machine) confirmed(now time.Duration, p *dhcpv6.Message) {
	if err := statusOf(p.Options.Options); err != nil {
		m.last = nil
		m.drop(now, "the server was asked whether it fits the link: "+err.Error())
		return
	}
	m.confirm(now, "%s still fits the link")
}

// confirm goes on with the lease of before.
func (m *Machine) confirm(now time.Duration, how string) {
	if err := m.Outside.Apply(m.lease, m.lease); err != nil {
		m.restart(now, fmt.Sprintf("cannot use %s: %v", m.lease, err))
		return
	}
	m.Log(how, m.lease)
	m.state, m.wake = Bound, m.lease.Renew
}

// informed takes in the answer to INFORMATION-REQUEST.
func (m *Machine) informed(now time.Duration, p *dhcpv6.Message) {
	l, err := answerFrom(p, m.Name, now)
	if err != nil {
		m.Log("ignoring an answer: %v", err)
		return
	}
	m.bind(now, l)
}

func (m *Machine) bind(now time.Duration, l *Lease) {
	old := m.lease
	if err := m.Outside.Apply(l, old); err != nil {
		m.restart(now, fmt.Sprintf("cannot use %s: %v", l, err))
		return
	}
	if m.state == Renewing || m.state == Rebinding {
		m.setback = 0 // not earlier: a new address may turn out to be a duplicate
	}
	m.lease, m.last, m.offer = l, l.addrs(), nil
	m.state, m.wake = Bound, l.Renew
	switch {
	case old == nil || !old.brings(l):
		m.Log("%s", l.describe(now))
	case m.Stateful:
		m.Log("%s extended by %s", l, length(l.Expiry, now))
	}
}

// drop takes the lease out of use and, with a link, starts over.
func (m *Machine) drop(now time.Duration, reason string) {
	m.Log("giving up %s: %s", m.lease, reason)
	m.Outside.Drop(m.lease)
	m.lease = nil
	switch {
	case m.state == NoLink:
	case m.Stateful:
		m.enter(Soliciting, now)
	default:
		m.enter(Informing, now)
	}
}

// restart starts over after something came to nothing, each time later: a
// server that offers and then refuses would otherwise be asked without a pause.
func (m *Machine) restart(now time.Duration, reason string) {
	wait := min(restartFirst<<min(m.setback, 16), restartLongest)
	wait += time.Duration(m.deviation() * float64(wait))
	m.setback++
	m.Log("%s; starting over in %s", reason, wait.Round(100*time.Millisecond))
	if m.Stateful {
		m.begin(Soliciting, now)
	} else {
		m.begin(Informing, now)
	}
	m.wake = now + wait
}

func (m *Machine) enter(s State, now time.Duration) {
	m.begin(s, now)
	m.transmit(now)
}

func (m *Machine) begin(s State, now time.Duration) {
	m.state, m.began, m.tries = s, now, 0
	if s == Soliciting {
		m.offer = nil
	}
	random := rand.Uint32()
	m.xid = dhcpv6.TransactionID{byte(random >> 16), byte(random >> 8), byte(random)}
}

// transmit sends the message of the state, and says when to repeat it.
func (m *Machine) transmit(now time.Duration) {
	if m.tries == 0 {
		m.began, m.complaint = now, complainAfter // restart lets some time pass
	} else {
		m.complain(now - m.began)
	}
	m.Outside.Send(m.message(now))
	m.wake = now + m.wait(now)
	m.tries++
}

// complain says that nobody answers, less and less often: on a network without
// a server that goes on for ever.
func (m *Machine) complain(elapsed time.Duration) {
	if m.state != Soliciting && m.state != Informing || elapsed < m.complaint {
		return
	}
	m.complaint = 2 * elapsed
	m.Log("no DHCPv6 server has answered for %s, still asking", elapsed.Round(time.Second))
}

// brings reports whether both leases bring the same, whatever their times.
func (l *Lease) brings(o *Lease) bool {
	return slices.Equal(l.addrs(), o.addrs()) && slices.Equal(l.DNS, o.DNS) &&
		slices.Equal(l.Search, o.Search) && slices.Equal(l.NTP, o.NTP)
}

func (l *Lease) describe(now time.Duration) string {
	var b strings.Builder
	if len(l.Addresses) > 0 {
		fmt.Fprintf(&b, "%s for %s", l, length(l.Expiry, now))
	} else {
		b.WriteString("a server answered")
	}
	if len(l.DNS) > 0 {
		fmt.Fprintf(&b, ", DNS %s", strings.Join(hostaddr.Strings(l.DNS), " "))
	}
	if len(l.Search) > 0 {
		fmt.Fprintf(&b, ", search %s", strings.Join(l.Search, " "))
	}
	if len(l.NTP) > 0 {
		fmt.Fprintf(&b, ", NTP %s", strings.Join(hostaddr.Strings(l.NTP), " "))
	}
	return b.String()
}

func length(expiry, now time.Duration) string {
	if expiry == dhcp.Forever {
		return "an unlimited time"
	}
	return (expiry - now).Round(time.Second).String()
}
