package netdata

// networkData is OpenStack's network_data.json, which Metal3 has, too.
type networkData struct {
	Links    []link      `json:"links"`
	Networks []networkOS `json:"networks"`
	Services []service   `json:"services"`
}

type link struct {
	ID       text `json:"id"`
	Type     text `json:"type"`
	MAC      text `json:"ethernet_mac_address"`
	MTU      text `json:"mtu"`
	VLANLink text `json:"vlan_link"`
	VLANID   text `json:"vlan_id"`
	Members  list `json:"bond_links"`
	Mode     text `json:"bond_mode"`
	Miimon   text `json:"bond_miimon"`
	XmitHash text `json:"bond_xmit_hash_policy"`
}

type networkOS struct {
	Type     text      `json:"type"`
	Link     text      `json:"link"`
	Address  text      `json:"ip_address"`
	Netmask  text      `json:"netmask"`
	Gateway  text      `json:"gateway"`
	Routes   []route1  `json:"routes"`
	Services []service `json:"services"`
	DNS      list      `json:"dns_nameservers"`
}

type service struct {
	Type    text `json:"type"`
	Address text `json:"address"`
}

func (p *plan) networkData(data []byte) error {
	var d networkData
	if err := unmarshalJSON(data, &d); err != nil {
		return err
	}
	for _, l := range d.Links {
		p.link(l, d.Networks)
	}
	for _, l := range d.Links {
		p.relateLink(l)
	}
	for _, n := range d.Networks {
		p.network(n)
	}
	p.dns = append(p.dns, dnsOf(d.Services)...)
	return nil
}

// link makes an interface. Where there are no networks at all, the server of DHCP knows
// them.
func (p *plan) link(l link, networks []networkOS) {
	e := p.add(string(l.ID))
	if e == nil {
		return
	}
	e.MTU = p.number(string(l.ID), "mtu", l.MTU)
	if l.Type != "bond" && l.Type != "vlan" {
		e.MAC = string(l.MAC)
		p.checkName(string(l.ID), e)
	}
	if len(networks) == 0 {
		e.DHCP4 = truth(true)
	}
}

func (p *plan) relateLink(l link) {
	switch l.Type {
	case "vlan":
		p.vlan(string(l.ID), l.VLANID.number(), string(l.VLANLink))
	case "bond":
		params := map[string]list{}
		for name, value := range map[string]text{"mode": l.Mode, "miimon": l.Miimon, "xmit-hash-policy": l.XmitHash} {
			if value != "" {
				params[name] = list{string(value)}
			}
		}
		p.bond(string(l.ID), l.Members, string(l.MAC), params)
	}
}

func (p *plan) network(n networkOS) {
	e := p.entries[p.key(string(n.Link))]
	if e == nil {
		p.skip("a network of the link %q, which there is not", n.Link)
		return
	}
	switch n.Type {
	case "ipv4_dhcp":
		e.DHCP4 = truth(true)
		return // the server says the rest
	case "ipv6_dhcp", "ipv6_dhcpv6-stateful", "ipv6_dhcpv6-stateless":
		e.DHCP6 = truth(true)
		return
	case "ipv6_slaac":
		return
	case "ipv4", "ipv6":
	default:
		p.skip("%s: a network of type %q", n.Link, n.Type)
		return
	}
	e.static(n)
}

func (e *entry) static(n networkOS) {
	e.address(string(n.Address), string(n.Netmask))
	e.gateway(string(n.Gateway))
	for _, r := range n.Routes {
		e.route(r.route())
	}
	e.DNS = append(append(e.DNS, n.DNS...), dnsOf(n.Services)...)
}

func dnsOf(services []service) (servers []string) {
	for _, s := range services {
		if s.Type == "dns" {
			servers = append(servers, string(s.Address))
		}
	}
	return servers
}
