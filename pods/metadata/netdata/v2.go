package netdata

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// device2 is an interface in version 2, which is netplan's format.
type device2 struct {
	Match       *match2         `json:"match"`
	SetName     text            `json:"set-name"`
	MAC         text            `json:"macaddress"` // that it is to have
	Addresses   addresses       `json:"addresses"`
	Gateway4    text            `json:"gateway4"`
	Gateway6    text            `json:"gateway6"`
	Routes      []route2        `json:"routes"`
	Nameservers nameservers2    `json:"nameservers"`
	MTU         text            `json:"mtu"`
	DHCP4       text            `json:"dhcp4"`
	DHCP6       text            `json:"dhcp6"`
	AcceptRA    text            `json:"accept-ra"`
	Override4   map[string]text `json:"dhcp4-overrides"`
	Override6   map[string]text `json:"dhcp6-overrides"`
	ID          text            `json:"id"`
	Link        text            `json:"link"`
	Interfaces  list            `json:"interfaces"`
	Parameters  map[string]list `json:"parameters"`
}

type match2 struct {
	MAC    text `json:"macaddress"`
	Name   text `json:"name"`
	Driver list `json:"driver"`
}

type nameservers2 struct {
	Addresses list `json:"addresses"`
	Search    list `json:"search"`
}

type route2 struct {
	To     text `json:"to"`
	Via    text `json:"via"`
	Metric text `json:"metric"`
	Type   text `json:"type"`
	Table  text `json:"table"`
}

// fields2 are those of device2, and those that change nothing on this node.
var fields2 = []string{
	"match", "set-name", "macaddress", "addresses", "gateway4", "gateway6", "routes", "nameservers", "mtu", "dhcp4", "dhcp6",
	"accept-ra", "dhcp4-overrides", "dhcp6-overrides", "id", "link", "interfaces", "parameters",
	"optional", "critical", "renderer", "dhcp-identifier", "optional-addresses",
}

// ignored2 are parts of what DHCP says, by netplan's names for using them.
var ignored2 = map[string]string{
	"use-dns": "dns", "use-domains": "dns", "use-ntp": "ntp", "use-routes": "routes", "use-mtu": "mtu", "use-hostname": "hostname",
}

func (p *plan) version2(top map[string]json.RawMessage) error {
	kinds := map[string]map[string]device2{}
	for _, kind := range []string{"ethernets", "bonds", "vlans"} {
		devices, err := p.devices2(kind, top[kind])
		if err != nil {
			return err
		}
		kinds[kind] = devices
	}
	p.relate2(kinds)
	for _, kind := range slices.Sorted(maps.Keys(top)) {
		if kinds[kind] == nil && kind != "version" && kind != "renderer" {
			p.skip("%s: they are not made", kind)
		}
	}
	return nil
}

// devices2 reads the interfaces of a kind, in the order of their names.
func (p *plan) devices2(kind string, raw json.RawMessage) (map[string]device2, error) {
	devices, fields := map[string]device2{}, map[string]map[string]json.RawMessage{}
	if raw == nil {
		return devices, nil
	}
	if err := json.Unmarshal(raw, &devices); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(devices)) {
		p.device2(kind, id, devices[id])
		p.unknown2(id, fields[id])
	}
	return devices, nil
}

func (p *plan) unknown2(id string, fields map[string]json.RawMessage) {
	for _, f := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(fields2, f) {
			p.skip("%s: %s", id, f)
		}
	}
}

func (p *plan) device2(kind, id string, d device2) {
	name := id
	switch {
	case d.Match.isName():
		name = string(d.Match.Name)
	case d.Match.isPattern():
		p.skip("%s: match.name %s: interfaces are not found by patterns of names", id, d.Match.Name)
		return
	}
	e := p.add(name)
	if e == nil {
		return
	}
	p.ids[id] = p.ids[name]
	if kind == "ethernets" {
		p.match2(id, e, d)
		p.checkName(name, e)
	}
	e.address2(d)
	for _, r := range d.Routes {
		p.route2(id, e, r)
	}
	e.DNS, e.Search = d.Nameservers.Addresses, d.Nameservers.Search
	e.MTU = p.number(id, "mtu", d.MTU)
	e.uses(d.DHCP4.flag(), d.DHCP6.flag(), d.AcceptRA.flag())
	p.overrides2(id, e, d.Override4)
	p.overrides2(id, e, d.Override6)
}

func (e *entry) address2(d device2) {
	for _, a := range d.Addresses {
		e.address(a, "")
	}
	e.gateway(string(d.Gateway4))
	e.gateway(string(d.Gateway6))
}

// isName reports whether it is the name of one interface.
func (m *match2) isName() bool {
	return m != nil && m.MAC == "" && len(m.Driver) == 0 && m.Name != "" && !m.isGlob()
}

// isPattern reports whether it takes the pattern to find the interfaces. One that means
// each Ethernet card is left out, and no pattern is needed beside an address.
func (m *match2) isPattern() bool {
	return m != nil && m.MAC == "" && m.isGlob() && !slices.Contains([]text{"*", "e*", "en*", "eth*"}, m.Name)
}

func (m *match2) isGlob() bool { return strings.ContainsAny(string(m.Name), "*?[") }

func (p *plan) match2(id string, e *entry, d device2) {
	if d.MAC != "" {
		p.skip("%s: macaddress %s: a card keeps its own", id, d.MAC)
	}
	if d.SetName != "" && string(d.SetName) != id {
		p.skip("%s: set-name %s: interfaces keep their names", id, d.SetName)
	}
	if d.Match == nil || d.Match.isName() {
		return
	}
	e.find2(d.Match)
	if len(d.Match.Driver) > 1 {
		p.skip("%s: match.driver: only the first one, %s, counts", id, d.Match.Driver[0])
	}
}

// find2 says by what the interface is found.
func (e *entry) find2(m *match2) {
	if len(m.Driver) == 0 && m.MAC != "" {
		e.MAC = string(m.MAC)
		return
	}
	e.Match = &match{MAC: string(m.MAC), Driver: "*"}
	if len(m.Driver) > 0 {
		e.Match.Driver = m.Driver[0]
	}
}

func (p *plan) route2(id string, e *entry, r route2) {
	to := string(r.To)
	switch {
	case r.Type != "" && r.Type != "unicast", r.Table != "" && r.Table != "254":
		p.skip("%s: route to %s: its type or table", id, to)
		return
	case r.Via == "" && to == "default":
		to = "0.0.0.0/0" // on the link
	}
	e.route(route{To: to, Via: string(r.Via), Metric: r.Metric.number()}, "")
}

func (p *plan) overrides2(id string, e *entry, overrides map[string]text) {
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		value := overrides[name]
		switch part := ignored2[name]; {
		case name == "route-metric":
			e.Metric = value.number()
		case part == "":
			p.skip("%s: %s of DHCP", id, name)
		case !on(value.flag()) && value != "route":
			e.Ignore = append(e.Ignore, part)
		}
	}
}

// relate2 connects interfaces, whose names are known by now.
func (p *plan) relate2(kinds map[string]map[string]device2) {
	for _, id := range slices.Sorted(maps.Keys(kinds["bonds"])) {
		d := kinds["bonds"][id]
		p.bond(id, d.Interfaces, string(d.MAC), d.Parameters)
	}
	for _, id := range slices.Sorted(maps.Keys(kinds["vlans"])) {
		d := kinds["vlans"][id]
		p.vlan(id, d.ID.number(), string(d.Link))
	}
}
