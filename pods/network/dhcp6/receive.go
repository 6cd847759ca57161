package dhcp6

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// Receive takes in a message that arrived on the interface.
func (m *Machine) Receive(now time.Duration, p *dhcpv6.Message) {
	if !m.awaits(p) {
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

// awaits reports whether p answers what was sent last (RFC 8415, section 16).
func (m *Machine) awaits(p *dhcpv6.Message) bool {
	client, server := p.Options.ClientID(), p.Options.ServerID()
	if p.TransactionID != m.xid || client == nil || server == nil || !bytes.Equal(client.ToBytes(), m.id.DUID) {
		return false
	}
	switch m.State() {
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
	g, err := grantFrom(p, m.id.IAID, m.id.Name, now)
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
	if preference == 0 || preference == 255 || m.Tries() > 1 {
		m.Enter(Requesting, now)
	}
}

// answered takes in the answer to REQUEST, RENEW or REBIND.
func (m *Machine) answered(now time.Duration, p *dhcpv6.Message) {
	g, err := grantFrom(p, m.id.IAID, m.id.Name, now)
	if err == nil && m.Lease() != nil {
		g.keep(m.Lease(), now)
	}
	if err == nil && len(g.Addresses) == 0 {
		err = errNoAddress
	}
	switch {
	case err == nil:
		m.bind(now, g.Lease)
	case m.State() == Requesting:
		m.Restart(now, fmt.Sprintf("%s was offered and then refused: %v", m.offer, err))
	case errors.Is(err, errNoBinding):
		m.Log("the server has forgotten %s, asking for it again", m.Lease())
		m.offer = &Lease{Addresses: m.Lease().Addresses, Server: p.Options.ServerID().ToBytes()}
		m.Enter(Requesting, now)
	case len(g.withdrawn) > 0:
		m.Drop(now, "the server has taken it back")
	default:
		// Another server may do better, or this one later: the lease lasts.
		m.Log("ignoring an answer about %s: %v", m.Lease(), err)
	}
}

// confirmed takes in the answer to CONFIRM.
func (m *Machine) confirmed(now time.Duration, p *dhcpv6.Message) {
	if err := statusOf(p.Options.Options); err != nil {
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
func (m *Machine) informed(now time.Duration, p *dhcpv6.Message) {
	l, err := answerFrom(p, m.id.Name, now)
	if err != nil {
		m.Log("ignoring an answer: %v", err)
		return
	}
	m.bind(now, l)
}
