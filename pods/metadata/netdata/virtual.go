package netdata

import (
	"maps"
	"slices"
	"strings"
)

// settings are the fields of a bond in network.yaml by what cloud-init, netplan and
// OpenStack call them, without "bond-" before it.
var settings = map[string]string{
	"mode": "mode", "primary": "primary",
	"miimon": "miimon", "mii-monitor-interval": "miimon",
	"updelay": "upDelay", "up-delay": "upDelay",
	"downdelay": "downDelay", "down-delay": "downDelay",
	"min-links": "minLinks", "lacp-rate": "lacpRate",
	"xmit-hash-policy": "xmitHash", "transmit-hash-policy": "xmitHash",
	"arp-interval":  "arpInterval",
	"arp-ip-target": "arpTargets", "arp-ip-targets": "arpTargets",
}

// numbers are the kernel's numbers of settings that network.yaml has names for.
var numbers = map[string][]string{
	"mode":     {"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"},
	"lacpRate": {"slow", "fast"},
	"xmitHash": {"layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"},
}

// bond makes a bond of the entry that the data call id.
func (p *plan) bond(id string, members []string, mac string, params map[string]list) {
	e := p.entries[p.key(id)]
	if e == nil {
		return
	}
	keys := []string{}
	for _, m := range members[:min(len(members), maxItems)] {
		keys = append(keys, p.key(m))
	}
	e.Bond = map[string]any{"members": keys}
	if mac != "" {
		e.Bond["mac"] = mac
	}
	for _, param := range slices.Sorted(maps.Keys(params)) {
		p.bondSetting(id, e, param, params[param])
	}
}

func (p *plan) bondSetting(id string, e *entry, param string, values []string) {
	name := settings[strings.TrimPrefix(strings.ReplaceAll(param, "_", "-"), "bond-")]
	if name == "" || len(values) == 0 {
		p.skip("%s: %s of the bond", id, param)
		return
	}
	value := values[0]
	switch name {
	case "mode", "lacpRate", "xmitHash":
		e.Bond[name] = spelled(name, value)
	case "primary":
		e.Bond[name] = p.key(value)
	case "arpTargets":
		e.Bond[name] = values[:min(len(values), maxItems)]
	default:
		e.setNumber(name, text(value).number())
	}
}

// setNumber sets a number; 0 is the kernel's word for off, which network.yaml has not.
func (e *entry) setNumber(name string, n int) {
	if n != 0 {
		e.Bond[name] = n
	}
}

func spelled(name, value string) string {
	names := numbers[name]
	if n := text(value).number(); n >= 0 && n < len(names) && value != "" {
		return names[n]
	}
	return value
}

// vlan makes a VLAN of the entry that the data call id.
func (p *plan) vlan(id string, tag int, parent string) {
	if e := p.entries[p.key(id)]; e != nil {
		e.VLAN = &vlan{ID: tag, Parent: p.key(parent)}
	}
}
