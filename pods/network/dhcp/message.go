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
}

// wanted is the parameter request list. Classless routes stand before the
// router because RFC 3442 asks for it.
var wanted = []dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask,
	dhcpv4.OptionClasslessStaticRoute,
	dhcpv4.OptionRouter,
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

// maxMessage is the longest IP datagram the client takes (option 57).
const maxMessage = 1500

// message returns a message with what all of them share. The client identifier
// is the hardware address, as firmware and most clients use it, so that a
// machine keeps its address whatever is booted on it.
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
	p.UpdateOption(dhcpv4.OptClientIdentifier(append([]byte{byte(iana.HWTypeEthernet)}, id.HardwareAddr...)))
	p.UpdateOption(dhcpv4.OptMaxMessageSize(maxMessage))
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
