package netdata

import (
	"fmt"
	"slices"
)

// droplet is what counts of DigitalOcean's v1.json. Droplets have no DHCP.
type droplet struct {
	DNS struct {
		Servers list `json:"nameservers"`
	} `json:"dns"`
	Interfaces struct {
		Public  []card `json:"public"`
		Private []card `json:"private"`
	} `json:"interfaces"`
}

type card struct {
	MAC    text        `json:"mac"`
	IPv4   cardAddress `json:"ipv4"`
	IPv6   cardAddress `json:"ipv6"`
	Anchor cardAddress `json:"anchor_ipv4"` // for addresses that move between droplets
}

type cardAddress struct {
	Address text `json:"ip_address"`
	Netmask text `json:"netmask"`
	CIDR    text `json:"cidr"`
	Gateway text `json:"gateway"`
}

func (p *plan) droplet(data []byte) error {
	var d droplet
	if err := unmarshalJSON(data, &d); err != nil {
		return err
	}
	for n, c := range slices.Concat(d.Interfaces.Public, d.Interfaces.Private) {
		p.card(fmt.Sprintf("eth%d", n), c, n < len(d.Interfaces.Public))
	}
	if len(p.keys) > 0 {
		p.dns = d.DNS.Servers
	}
	return nil
}

// card makes an interface. Only public ones lead out; the gateways of private networks and
// anchors are for machines that have nothing else.
func (p *plan) card(id string, c card, public bool) {
	e := p.add(id)
	if e == nil {
		return
	}
	e.MAC = string(c.MAC)
	for _, a := range []cardAddress{c.IPv4, c.Anchor, c.IPv6} {
		e.address(string(a.Address), string(a.Netmask+a.CIDR))
	}
	if public {
		e.gateway(string(c.IPv4.Gateway))
		e.gateway(string(c.IPv6.Gateway))
	}
}
