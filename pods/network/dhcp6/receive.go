package dhcp6

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// Receive takes in a message that arrived on the interface.
func (m *Machine) Receive(now time.Duration, raw []byte) {
	p, ok := parse(raw)
	if !ok || !m.awaits(p) {
		return
	}
	m.learnMaxRT(p)
	switch m.State() {
	case Confirming:
		m.confirmed(now, p)
	case Informing:
		m.informed(now, p)
	case Declining:
		m.Restart(now, "the server has taken "+m.declined.String()+" back")
	case Soliciting:
		m.offered(now, p)
	default:
		m.answered(now, p)
	}
}

// awaits reports whether p answers what was sent last (RFC 8415, section 16). Only
// then it is worth reading.
func (m *Machine) awaits(p answer) bool {
	if p.xid != m.xid {
		return false
	}
	client, _ := p.options.first(dhcpv6.OptionClientID)
	server, _ := p.options.first(dhcpv6.OptionServerID)
	if len(server) == 0 || len(server) > maxDUID || !bytes.Equal(client, m.id.DUID) {
		return false
	}
	switch m.State() {
	case NoLink, Bound:
		return false
	case Soliciting:
		_, rapid := p.options.first(dhcpv6.OptionRapidCommit)
		return rapid && p.kind == dhcpv6.MessageTypeReply || p.kind == dhcpv6.MessageTypeAdvertise
	}
	return p.kind == dhcpv6.MessageTypeReply
}

func (m *Machine) learnMaxRT(p answer) {
	if d, ok := maxRT(p.options, dhcpv6.OptionSolMaxRT); ok {
		m.solMaxRT = d
	}
	if d, ok := maxRT(p.options, dhcpv6.OptionInfMaxRT); ok {
		m.infMaxRT = d
	}
}

// offered takes in an answer to SOLICIT: an offer, or already the lease.
func (m *Machine) offered(now time.Duration, p answer) {
	g, err := grantFrom(p, m.id.IAID, m.id.Name, nil, now)
	if err == nil && len(g.Addresses) == 0 {
		err = errNoAddress
	}
	if err != nil {
		m.Ignore("with an offer: %v", err)
		return
	}
	if p.kind == dhcpv6.MessageTypeReply {
		m.bind(now, g.Lease, g.faults)
		return
	}
	preference := p.options.preference()
	if m.offer != nil && preference <= m.preference {
		return
	}
	m.offer, m.preference = g.Lease, preference
	if preference == 0 || preference == 255 || m.Tries() > 1 {
		m.Enter(Requesting, now)
	}
}

// answered takes in the answer to REQUEST, RENEW or REBIND.
func (m *Machine) answered(now time.Duration, p answer) {
	g, err := grantFrom(p, m.id.IAID, m.id.Name, m.Lease(), now)
	if err == nil && len(g.Addresses) == 0 {
		err = errNoAddress
	}
	switch {
	case err == nil:
		m.bind(now, g.Lease, g.faults)
	case m.State() == Requesting:
		m.Restart(now, fmt.Sprintf("%s was offered and then refused: %v", m.offer, err))
	case errors.Is(err, errNoBinding):
		m.Log("the server has forgotten %s, asking for it again", m.Lease())
		server, _ := p.options.first(dhcpv6.OptionServerID)
		m.offer = &Lease{Addresses: m.Lease().Addresses, Server: bytes.Clone(server)}
		m.Enter(Requesting, now)
	case len(g.withdrawn) > 0:
		m.Drop(now, "the server has taken it back")
	default:
		// Another server may do better, or this one later: the lease lasts.
		m.Ignore("about %s: %v", m.Lease(), err)
	}
}

// confirmed takes in the answer to CONFIRM.
func (m *Machine) confirmed(now time.Duration, p answer) {
	if err := statusOf(p.options); err != nil {
		m.last = nil
		m.Drop(now, "the server was asked whether it fits the link: "+err.Error())
		return
	}
	m.confirm(now, "%s still fits the link")
}

// confirm goes on with the lease of before.
func (m *Machine) confirm(now time.Duration, how string) {
	if m.Use(now, m.Lease()) {
		m.Log(how, m.Lease())
	}
}

// informed takes in the answer to INFORMATION-REQUEST.
func (m *Machine) informed(now time.Duration, p answer) {
	l, faults, err := answerFrom(p, m.id.Name, now)
	if err != nil {
		m.Ignore("of a server: %v", err)
		return
	}
	m.bind(now, l, faults)
}
