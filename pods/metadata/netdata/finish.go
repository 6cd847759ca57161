package netdata

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"kios/pods/network/netconf"
)

// path is the file for messages of its parser, which settle takes apart.
const path = "network.yaml"

// maxRounds is far more than the mistakes that hide others.
const maxRounds = 32

// finish returns the file, which has no mistakes, or nil if it says nothing but what the
// node does without it.
func (p *plan) finish() ([]byte, error) {
	p.giveDNS()
	for key, e := range p.entries {
		p.settleDHCP(key, e)
		p.bound(key, e)
	}
	p.leaveOutPlain()
	if len(p.entries) == 0 {
		return nil, nil
	}
	return p.settle()
}

// giveDNS gives name servers of no interface in particular to one: the first with an
// address, or the first.
func (p *plan) giveDNS() {
	if len(p.dns)+len(p.search) == 0 {
		return
	}
	free := slices.DeleteFunc(slices.Clone(p.keys), p.isMember)
	if len(free) == 0 {
		p.skip("name servers: there is no interface for them")
		return
	}
	static := slices.IndexFunc(free, func(key string) bool { return len(p.entries[key].Addresses) > 0 })
	e := p.entries[free[max(static, 0)]]
	e.DNS, e.Search = append(e.DNS, p.dns...), append(e.Search, p.search...)
}

// isMember reports whether the entry is part of a bond.
func (p *plan) isMember(key string) bool {
	for _, e := range p.entries {
		if members, _ := e.Bond["members"].([]string); slices.Contains(members, key) {
			return true
		}
	}
	return false
}

// settleDHCP leaves in an entry what differs from what the file means without it. The
// data mean no DHCP where they do not say it.
func (p *plan) settleDHCP(key string, e *entry) {
	if p.isMember(key) {
		e.uses(nil, nil, nil)
		return
	}
	dhcp4, dhcp6, otherwise := on(e.DHCP4), on(e.DHCP6), len(e.Addresses) == 0
	p.keepLeasedDNS(key, e, dhcp4)
	if dhcp4 && e.DHCP6 == nil {
		dhcp6 = otherwise // routers say whether there is DHCPv6
	}
	e.DHCP4, e.DHCP6 = differs(dhcp4, otherwise), differs(dhcp6, otherwise)
	if on(e.RA) {
		e.RA = nil
	}
}

func differs(b, from bool) *bool {
	if b == from {
		return nil
	}
	return &b
}

// keepLeasedDNS leaves out name servers of IPv6 where DHCP knows others: the file's take
// the place of all others, and pods may have no IPv6.
func (p *plan) keepLeasedDNS(key string, e *entry, dhcp4 bool) {
	if !dhcp4 || len(e.DNS) == 0 || slices.Contains(e.Ignore, "dns") || slices.ContainsFunc(e.DNS, isIPv4) {
		return
	}
	p.skip("%s: name servers %s: those from DHCP are used, which pods without IPv6 reach, too", key, strings.Join(e.DNS, ", "))
	e.DNS = nil
}

func isIPv4(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}

// bound cuts lists, so that checking them takes bounded time.
func (p *plan) bound(key string, e *entry) {
	e.Routes = cut(p, key, "routes", e.Routes)
	for _, l := range []struct {
		name string
		list *[]string
	}{{"addresses", &e.Addresses}, {"dns", &e.DNS}, {"search", &e.Search}, {"ignore", &e.Ignore}} {
		*l.list = cut(p, key, l.name, unique(*l.list))
	}
}

func cut[E any](p *plan, key, name string, list []E) []E {
	if len(list) <= maxItems {
		return list
	}
	p.skip("%s: %s beyond the first %d", key, name, maxItems)
	return list[:maxItems]
}

func unique(list []string) (once []string) {
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			once = append(once, s)
		}
		seen[s] = true
	}
	return once
}

// leaveOutPlain removes entries that say nothing, unless others mean them.
func (p *plan) leaveOutPlain() {
	maps.DeleteFunc(p.entries, func(key string, e *entry) bool { return e.plain() && !p.isMeant(key) })
}

// plain reports whether the node does as much without the entry.
func (e *entry) plain() bool {
	said := len(e.Addresses) + len(e.Routes) + len(e.DNS) + len(e.Search) + len(e.Ignore) + len(e.Bond)
	return said == 0 && e.MTU == 0 && e.Metric == 0 && e.VLAN == nil && e.DHCP4 == nil && e.DHCP6 == nil && e.RA == nil
}

func (p *plan) isMeant(key string) bool {
	for _, e := range p.entries {
		if e.VLAN != nil && e.VLAN.Parent == key {
			return true
		}
	}
	return p.isMember(key)
}

// settle has the file's own parser look at it, and leaves out what that refuses.
func (p *plan) settle() ([]byte, error) {
	for range maxRounds {
		file, err := yaml.Marshal(map[string]any{"interfaces": p.entries})
		if err != nil {
			return nil, err
		}
		config, mistakes := netconf.Parse(path, file)
		switch {
		case config == nil:
			return nil, errors.Join(mistakes...)
		case len(mistakes) == 0 && len(p.entries) == 0:
			return nil, nil
		case len(mistakes) == 0:
			return file, nil
		}
		for _, m := range mistakes {
			p.drop(strings.TrimPrefix(m.Error(), path+": interfaces."))
		}
		for _, e := range p.entries {
			e.compact()
		}
	}
	return nil, errors.New("no file can be made of them: write /etc/kios/network.yaml in the user data in their place")
}

// drop leaves out the part that a mistake is in, and in doubt the whole entry: each call
// makes the file smaller.
func (p *plan) drop(mistake string) {
	p.skip("%s", mistake)
	key := p.keyOf(mistake)
	e := p.entries[key]
	if e == nil {
		clear(p.entries) // never seen: what has no place cannot be left out
		return
	}
	field, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(mistake, key), "."), ": ")
	if !e.dropField(field) {
		delete(p.entries, key)
	}
}

// keyOf returns the entry that a mistake is about; a key can begin with another one.
func (p *plan) keyOf(mistake string) (longest string) {
	for key := range p.entries {
		rest, begins := strings.CutPrefix(mistake, key)
		if begins && len(key) > len(longest) && (rest == "" || rest[0] == '.' || rest[0] == ':') {
			longest = key
		}
	}
	return longest
}

// dropField reports whether there was such a field, without which the entry makes sense.
func (e *entry) dropField(field string) bool {
	name, index := splitField(field)
	switch name {
	case "mtu":
		e.MTU = 0
	case "metric":
		e.Metric = 0
	case "ignore":
		e.Ignore = nil
	case "dhcp6":
		e.DHCP6 = nil
	case "bond":
		return e.dropBond(strings.TrimPrefix(field, "bond."))
	default:
		return e.dropItem(name, index)
	}
	return true
}

// dropBond removes a setting of a bond, which can do without all but its members.
func (e *entry) dropBond(setting string) bool {
	_, there := e.Bond[setting]
	delete(e.Bond, setting)
	return there && setting != "members"
}

// dropItem blanks an item of a list, or the list; compact removes what is blank.
func (e *entry) dropItem(name string, index int) bool {
	lists := map[string]*[]string{"addresses": &e.Addresses, "dns": &e.DNS, "search": &e.Search}
	switch list := lists[name]; {
	case name == "routes" && index >= 0 && index < len(e.Routes):
		e.Routes[index] = route{}
	case list != nil && index >= 0 && index < len(*list):
		(*list)[index] = ""
	case list != nil && len(*list) > 0:
		*list = nil
	default:
		return false
	}
	return true
}

// compact removes blank items.
func (e *entry) compact() {
	e.Routes = slices.DeleteFunc(e.Routes, func(r route) bool { return r == route{} })
	for _, list := range []*[]string{&e.Addresses, &e.DNS, &e.Search} {
		*list = slices.DeleteFunc(*list, func(s string) bool { return s == "" })
	}
}

// splitField returns the name in NAME[INDEX].REST, and the index or -1.
func splitField(field string) (name string, index int) {
	name, _, _ = strings.Cut(field, ".")
	name, number, _ := strings.Cut(name, "[")
	if number == "" {
		return name, -1
	}
	return name, text(strings.TrimSuffix(number, "]")).number()
}
