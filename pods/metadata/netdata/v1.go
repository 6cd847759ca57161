package netdata

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
)

// networkConfig reads cloud-init's network-config, with the key network at the top or
// without it.
func (p *plan) networkConfig(data []byte) error {
	var top map[string]json.RawMessage
	if err := unmarshalYAML(data, &top); err != nil {
		return err
	}
	if inner, wrapped := top["network"]; wrapped {
		top = nil
		if err := json.Unmarshal(inner, &top); err != nil {
			return err
		}
	}
	var version text
	if raw := top["version"]; raw != nil {
		if err := version.UnmarshalJSON(raw); err != nil {
			return err
		}
	}
	switch {
	case len(top) == 0, disabled(top["config"]):
		return nil
	case version == "1":
		return p.version1(top["config"])
	case version == "2":
		return p.version2(top)
	}
	return errors.New("they have neither version 1 nor version 2")
}

// disabled is how user data keep cloud-init's hands off the network.
func disabled(config []byte) bool { return string(config) == `"disabled"` }

// item1 is an item of the list config.
type item1 struct {
	Type       text            `json:"type"`
	Name       text            `json:"name"`
	MAC        text            `json:"mac_address"`
	MTU        text            `json:"mtu"`
	AcceptRA   text            `json:"accept-ra"`
	Subnets    []subnet1       `json:"subnets"`
	Members    list            `json:"bond_interfaces"`
	Params     map[string]list `json:"params"`
	VLANParent text            `json:"vlan_link"`
	VLANID     text            `json:"vlan_id"`
	Address    list            `json:"address"` // of name servers
	Search     list            `json:"search"`
	Interface  text            `json:"interface"`
	route1
}

type subnet1 struct {
	Type    text     `json:"type"`
	Address text     `json:"address"`
	Netmask text     `json:"netmask"`
	Gateway text     `json:"gateway"`
	DNS     list     `json:"dns_nameservers"`
	Search  list     `json:"dns_search"`
	Routes  []route1 `json:"routes"`
}

type route1 struct {
	Destination text `json:"destination"`
	Network     text `json:"network"`
	Netmask     text `json:"netmask"`
	Prefix      text `json:"prefix"`
	Gateway     text `json:"gateway"`
	Metric      text `json:"metric"`
}

func (p *plan) version1(config []byte) error {
	var items []item1
	if err := json.Unmarshal(config, &items); err != nil {
		return err
	}
	for _, i := range items {
		p.interface1(i)
	}
	// What names interfaces, which may come later in the list.
	for _, i := range items {
		p.relate1(i)
	}
	return nil
}

func (p *plan) interface1(i item1) {
	switch i.Type {
	case "physical", "bond", "vlan":
	case "nameserver", "route", "loopback":
		return
	default:
		p.skip("%s: an interface of type %q is not made", i.Name, i.Type)
		return
	}
	e := p.add(string(i.Name))
	if e == nil {
		return
	}
	e.MTU = p.number(string(i.Name), "mtu", i.MTU)
	if i.Type == "physical" {
		e.MAC = string(i.MAC)
		p.checkName(string(i.Name), e)
	}
	for _, s := range i.Subnets {
		p.subnet1(string(i.Name), e, s)
	}
	if ra := i.AcceptRA.flag(); ra != nil {
		e.RA = ra
	}
}

// checkName says that a name may fit nothing: the kernel's names are eth0, eth1 and so on.
func (p *plan) checkName(name string, e *entry) {
	if e.MAC == "" && e.Match == nil && !strings.HasPrefix(name, "eth") {
		p.skip("%s: it counts if an interface has that name, but they are called eth0, eth1 ...: give its hardware address", name)
	}
}

func (p *plan) relate1(i item1) {
	switch i.Type {
	case "bond":
		p.bond(string(i.Name), i.Members, string(i.MAC), i.Params)
	case "vlan":
		p.vlan(string(i.Name), i.VLANID.number(), string(i.VLANParent))
	case "nameserver":
		p.nameserver1(i)
	case "route":
		p.route1(i.route1)
	}
}

func (p *plan) subnet1(id string, e *entry, s subnet1) {
	switch s.Type {
	case "dhcp", "dhcp4":
		e.DHCP4 = truth(true)
	case "dhcp6", "ipv6_dhcpv6-stateful", "ipv6_dhcpv6-stateless":
		e.DHCP6 = truth(true)
	case "static", "static6":
		e.address(string(s.Address), string(s.Netmask))
	case "ipv6_slaac", "manual":
	default:
		p.skip("%s: subnet of type %q", id, s.Type)
		return
	}
	e.gateway(string(s.Gateway))
	e.DNS, e.Search = append(e.DNS, s.DNS...), append(e.Search, s.Search...)
	for _, r := range s.Routes {
		e.route(r.route())
	}
}

// route returns the route, and the mask of its destination.
func (r route1) route() (route, string) {
	to, mask := r.Destination, r.Netmask
	if to == "" {
		to = r.Network
	}
	if mask == "" {
		mask = r.Prefix
	}
	return route{To: string(to), Via: string(r.Gateway), Metric: r.Metric.number()}, string(mask)
}

func (p *plan) nameserver1(i item1) {
	if e := p.entries[p.key(string(i.Interface))]; e != nil {
		e.DNS, e.Search = append(e.DNS, i.Address...), append(e.Search, i.Search...)
		return
	}
	p.dns, p.search = append(p.dns, i.Address...), append(p.search, i.Search...)
}

// route1 gives a route to the interface whose subnet has the gateway, or to the first.
func (p *plan) route1(r route1) {
	if len(p.keys) == 0 {
		p.skip("route to %s: there is no interface for it", r.Destination)
		return
	}
	e := p.entries[p.keys[0]]
	gateway, _ := netip.ParseAddr(string(r.Gateway))
	for _, key := range p.keys {
		if p.entries[key].reaches(gateway) {
			e = p.entries[key]
			break
		}
	}
	e.route(r.route())
}

func (e *entry) reaches(gateway netip.Addr) bool {
	for _, s := range e.Addresses {
		if p, err := netip.ParsePrefix(s); err == nil && p.Contains(gateway) {
			return true
		}
	}
	return false
}
