package dhcp6

import (
	"math"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// wanted is what the client asks for in each message about addresses; the last
// one must be asked for (RFC 8415, section 21.24).
var wanted = dhcpv6.OptRequestedOption(
	dhcpv6.OptionDNSRecursiveNameServer,
	dhcpv6.OptionDomainSearchList,
	dhcpv6.OptionSNTPServerList,
	dhcpv6.OptionNTPServer,
	dhcpv6.OptionSolMaxRT,
)

// wantedStateless is what it asks for in an INFORMATION-REQUEST; the last two
// must be.
var wantedStateless = dhcpv6.OptRequestedOption(
	dhcpv6.OptionDNSRecursiveNameServer,
	dhcpv6.OptionDomainSearchList,
	dhcpv6.OptionSNTPServerList,
	dhcpv6.OptionNTPServer,
	dhcpv6.OptionInformationRefreshTime,
	dhcpv6.OptionInfMaxRT,
)

// message returns the message of the state, as RFC 8415, section 18.2 and
// appendix B, compose them.
func (m *Machine) message(now time.Duration) *dhcpv6.Message {
	p := &dhcpv6.Message{MessageType: m.State().messageType(), TransactionID: m.xid}
	p.AddOption(raw(dhcpv6.OptionClientID, m.id.DUID))
	p.AddOption(dhcpv6.OptElapsedTime(min(now-m.began, math.MaxUint16*10*time.Millisecond)))
	switch m.State() {
	case Soliciting:
		p.AddOption(raw(dhcpv6.OptionRapidCommit, nil))
		p.AddOption(m.association(m.last))
	case Requesting:
		p.AddOption(raw(dhcpv6.OptionServerID, m.offer.Server))
		p.AddOption(m.association(m.offer.addrs()))
	case Renewing:
		p.AddOption(raw(dhcpv6.OptionServerID, m.Lease().Server))
		p.AddOption(m.association(m.Lease().addrs()))
	case Confirming, Rebinding:
		p.AddOption(m.association(m.Lease().addrs()))
	case Declining:
		p.AddOption(raw(dhcpv6.OptionServerID, m.decliner))
		p.AddOption(m.association([]netip.Addr{m.declined}))
	}
	switch m.State() {
	case Soliciting, Requesting, Renewing, Rebinding:
		p.AddOption(wanted)
	case Informing:
		p.AddOption(wantedStateless)
	}
	return p
}

// association returns an IA_NA without times: those are the server's to choose.
func (m *Machine) association(addrs []netip.Addr) *dhcpv6.OptIANA {
	ia := &dhcpv6.OptIANA{IaId: m.id.IAID}
	for _, a := range addrs {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice()})
	}
	return ia
}

func raw(code dhcpv6.OptionCode, data []byte) dhcpv6.Option {
	return &dhcpv6.OptionGeneric{OptionCode: code, OptionData: data}
}
