package netconf

import (
	"net"
	"path/filepath"
	"slices"
	"strings"
)

// Unlisted says which of the physical interfaces that the file does not list get DHCP.
// package network says what each means in detail.
type Unlisted string

const (
	Present Unlisted = "present" // those of devices that the machine had when it booted
	First   Unlisted = "first"   // the first one of these
	All     Unlisted = "all"     // all, whenever they come
	None    Unlisted = "none"    // none
)

var policies = []string{string(Present), string(First), string(All), string(None)}

// Match finds interfaces by what they are. Each field that is set must fit. It is a
// pattern of filepath.Match (* ? [a-z]).
type Match struct {
	MAC    string // the permanent address, lower case, with colons
	Driver string // of the kernel, such as ena
	Device string // the address on its bus, such as 0000:03:00.0
}

// ID is by what an interface can be found. What it has not got is "".
type ID struct{ Name, MAC, Driver, Device string }

func (m *Match) fits(id ID) bool {
	for _, pair := range [][2]string{{m.MAC, id.MAC}, {m.Driver, id.Driver}, {m.Device, id.Device}} {
		if fits, _ := filepath.Match(pair[0], pair[1]); pair[0] != "" && !fits {
			return false
		}
	}
	return true
}

// one reports whether at most one interface can fit.
func (m *Match) one() bool {
	exact := func(pattern string) bool { return pattern != "" && !strings.ContainsAny(pattern, `*?[\`) }
	return exact(m.MAC) || exact(m.Device)
}

// Find returns the key and the entry of an interface. The address decides before the
// name, and that before a pattern; of entries with patterns, the first one by key.
// Without an entry, the key is the name.
func (c *Config) Find(id ID) (string, *Interface) {
	for key, i := range c.Interfaces {
		if i.MAC != "" && i.MAC == id.MAC {
			return key, i
		}
	}
	if i := c.Interfaces[id.Name]; i != nil && i.named() {
		return id.Name, i
	}
	for _, key := range c.patterns {
		if i := c.Interfaces[key]; i.Match.fits(id) {
			return key, i
		}
	}
	return id.Name, nil
}

// Names returns by what other entries mean the interface: by the key of its own entry,
// and by its name, unless that is the key of an entry which is about another one.
func (c *Config) Names(id ID) (names []string) {
	key, entry := c.Find(id)
	if entry != nil {
		names = append(names, key)
	}
	if i := c.Interfaces[id.Name]; i == nil || i.named() && key != id.Name {
		names = append(names, id.Name)
	}
	return names
}

// HasPatterns reports whether Find needs more than the name and the address.
func (c *Config) HasPatterns() bool { return len(c.patterns) > 0 }

// notePatterns remembers which entries have patterns.
func (c *Config) notePatterns() {
	for key, i := range c.Interfaces {
		if i.Match != nil {
			c.patterns = append(c.patterns, key)
		}
	}
	slices.Sort(c.patterns)
}

// several reports whether more than one interface can fit the entry.
func (i *Interface) several() bool { return i.Match != nil && !i.Match.one() }

// named reports whether the key is the interface's name.
func (i *Interface) named() bool { return i.MAC == "" && i.Match == nil }

type matchEntry struct {
	MAC    string `json:"mac"`
	Driver string `json:"driver"`
	Device string `json:"device"`
}

func (e *matchEntry) convert(k *checker) *Match {
	if e == nil {
		return nil
	}
	m := &Match{MAC: strings.ToLower(strings.ReplaceAll(e.MAC, "-", ":")), Driver: e.Driver, Device: strings.ToLower(e.Device)}
	if strings.Contains(e.MAC, "[") { // a hyphen there is a range
		m.MAC = strings.ToLower(e.MAC)
	}
	before := len(k.errs)
	if *m == (Match{}) {
		k.bad("match", "it is empty: give it mac, driver or device")
	}
	k.pattern("match.mac", m.MAC)
	k.pattern("match.driver", m.Driver)
	k.pattern("match.device", m.Device)
	if mac, err := net.ParseMAC(m.MAC); m.MAC != "" && !strings.ContainsAny(m.MAC, `*?[\`) && (err != nil || len(mac) != 6) {
		k.bad("match.mac", "%q is no Ethernet address; it looks like 52:54:00:12:34:56 or 52:54:00:*", e.MAC)
	}
	if len(k.errs) > before {
		return nil
	}
	return m
}

func (k *checker) pattern(field, s string) {
	if _, err := filepath.Match(s, ""); err != nil {
		k.bad(field, "%q is no pattern: a [ has no end", s)
	}
}
