package netconf

import (
	"net/netip"
	"reflect"
	"slices"
)

// Config is the whole file.
type Config struct {
	// Interfaces is what is said about each. The key is the interface's name,
	// or, for an interface that is found by MAC or a pattern, any name.
	Interfaces map[string]*Interface
	Unlisted   Unlisted

	patterns []string // keys of entries with patterns, in order
}

// Interface is what one interface is to have.
type Interface struct {
	MAC       string // lower case, with colons; "" if the key is its name
	Match     *Match // nil if it is not found by a pattern
	Unmanaged bool   // somebody else's: nothing is set, nothing is removed
	Addresses []netip.Prefix
	Routes    []Route
	MTU       int // 0: what DHCP says, else what the kernel has
	DNS       []netip.Addr
	Search    []string
	NTP       []string // addresses and names
	DHCP4     bool     // ask for an IPv4 address
	DHCP6     bool     // use DHCPv6 if the router says so
	RA        bool     // take router advertisements
	Metric    int      // of routes by DHCP and routers; 0: as the order of the interfaces has it
	// SourceRouting makes packets from the interface's IPv4 addresses leave through it.
	SourceRouting bool
	Ignore        []Part // of what DHCP servers and routers say
	VLAN          *VLAN
	Bond          *Bond
	Doubtful      bool // a mistake has cost it addresses or routes, perhaps
}

// Part is a part of what DHCP servers and routers say.
type Part string

const (
	DefaultRoute Part = "default-route"
	Routes       Part = "routes" // all of them
	DNS          Part = "dns"    // servers and domains
	NTP          Part = "ntp"
	Hostname     Part = "hostname"
	MTU          Part = "mtu"
)

var parts = []string{string(DefaultRoute), string(Routes), string(DNS), string(NTP), string(Hostname), string(MTU)}

// Takes reports whether that part is used.
func (i *Interface) Takes(p Part) bool { return !slices.Contains(i.Ignore, p) }

// Route is a route through one interface.
type Route struct {
	To     netip.Prefix
	Via    netip.Addr // not valid: To is directly on the link
	Metric int        // 0: as the order of the interfaces has it
}

// VLAN makes an interface of the packets of Parent that have the tag ID.
type VLAN struct {
	ID     int
	Parent string // a key of the file, or the name of an interface
}

// Bond makes one interface of several. The strings are those of the kernel's
// Documentation/networking/bonding.rst, "" where it is to choose.
type Bond struct {
	Members     []string // keys of the file, or names of interfaces, in order
	MAC         string   // "": that of the first member, as far as it is known
	Mode        string
	Primary     string // one of Members, or ""
	Miimon      int    // milliseconds between looks at each member's carrier, or 0 with ARPInterval
	UpDelay     int    // milliseconds
	DownDelay   int    // milliseconds
	MinLinks    int
	ARPInterval int // milliseconds between questions to ARPTargets, or 0
	ARPTargets  []netip.Addr
	LACPRate    string
	XmitHash    string
}

// Default is an interface that the file does not mention.
func Default() *Interface { return &Interface{DHCP4: true, DHCP6: true, RA: true, SourceRouting: true} }

// KeepFrom gives entries that a mistake may have cost addresses or routes those that
// they have in last, which had no mistake, in addition: a typing mistake must not take
// away the way to the node. It returns the keys of these entries.
func (c *Config) KeepFrom(last *Config) (keys []string) {
	for key, i := range c.Interfaces {
		l := last.Interfaces[key]
		if !i.Doubtful || l == nil || l.MAC != i.MAC || !reflect.DeepEqual(l.Match, i.Match) || i.Unmanaged {
			continue
		}
		taken := c.addresses()
		for _, a := range l.Addresses {
			if !slices.Contains(taken, a.Addr()) {
				i.Addresses = append(i.Addresses, a)
			}
		}
		for _, r := range l.Routes {
			if !slices.Contains(i.Routes, r) {
				i.Routes = append(i.Routes, r)
			}
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// addresses returns those of all entries.
func (c *Config) addresses() (all []netip.Addr) {
	for _, i := range c.Interfaces {
		for _, a := range i.Addresses {
			all = append(all, a.Addr())
		}
	}
	return all
}

// BondOf returns the key of the bond that has an interface with one of these
// names as a member, or "".
func (c *Config) BondOf(names ...string) string {
	for bond, i := range c.Interfaces {
		if i.Bond == nil {
			continue
		}
		for _, name := range names {
			if slices.Contains(i.Bond.Members, name) {
				return bond
			}
		}
	}
	return ""
}

// VLANsOn returns the keys, in order, of the VLANs on the interface with one of
// these names.
func (c *Config) VLANsOn(names ...string) []string {
	var keys []string
	for key, i := range c.Interfaces {
		if i.VLAN != nil && slices.Contains(names, i.VLAN.Parent) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
