package dhcp

import (
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// Identity is what a client says about itself in each message.
type Identity struct {
	HardwareAddr net.HardwareAddr
	Hostname     string // "" is not sent
	MTU          int    // of the interface; 0 is the usual one of Ethernet
}

// wanted is the parameter request list. Classless routes stand before the
// router because RFC 3442 asks for it.
var wanted = []dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask,
	dhcpv4.OptionClasslessStaticRoute,
	optionClassless249,
	dhcpv4.OptionRouter,
	dhcpv4.OptionStaticRoutingTable,
	dhcpv4.OptionDomainNameServer,
	dhcpv4.OptionDomainName,
	dhcpv4.OptionDNSDomainSearchList,
	dhcpv4.OptionInterfaceMTU,
	dhcpv4.OptionNTPServers,
	dhcpv4.OptionHostName,
	dhcpv4.OptionFQDN,
	dhcpv4.OptionIPAddressLeaseTime,
	dhcpv4.OptionServerIdentifier,
	dhcpv4.OptionRenewTimeValue,
	dhcpv4.OptionRebindingTimeValue,
}

// Bounds of the longest IP datagram that the client takes (option 57): more than the
// interface can receive does not arrive, and RFC 2132 allows no less than 576.
const (
	minMessage = 576
	maxMessage = 1500
)

// clientID is the hardware address, as firmware and most clients use it, so that a
// machine keeps its address whatever is booted on it.
func (id Identity) clientID() []byte {
	return append([]byte{byte(iana.HWTypeEthernet)}, id.HardwareAddr...)
}

func (id Identity) maxMessage() uint16 {
	if id.MTU == 0 {
		return maxMessage
	}
	return uint16(max(minMessage, min(id.MTU, maxMessage)))
}

// message returns a message with what all of them share.
func (id Identity) message(t dhcpv4.MessageType, xid dhcpv4.TransactionID, elapsed time.Duration) *dhcpv4.DHCPv4 {
	p := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootRequest,
		HWType:        iana.HWTypeEthernet,
		ClientHWAddr:  id.HardwareAddr,
		TransactionID: xid,
		NumSeconds:    uint16(min(elapsed/time.Second, 0xffff)),
		Options:       dhcpv4.Options{},
	}
	p.UpdateOption(dhcpv4.OptMessageType(t))
	p.UpdateOption(dhcpv4.OptClientIdentifier(id.clientID()))
	if t == dhcpv4.MessageTypeDecline {
		return p // RFC 2131, table 5, allows no more
	}
	p.UpdateOption(dhcpv4.OptMaxMessageSize(id.maxMessage()))
	p.UpdateOption(dhcpv4.OptParameterRequestList(wanted...))
	if id.Hostname != "" {
		p.UpdateOption(dhcpv4.OptHostName(id.Hostname))
	}
	return p
}

func requestAddress(p *dhcpv4.DHCPv4, addr netip.Addr) {
	p.UpdateOption(dhcpv4.OptRequestedIPAddress(addr.AsSlice()))
}

func nameServer(p *dhcpv4.DHCPv4, server netip.Addr) {
	p.UpdateOption(dhcpv4.OptServerIdentifier(server.AsSlice()))
}
