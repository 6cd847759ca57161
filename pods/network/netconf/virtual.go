package netconf

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"kios/pods/network/hostaddr"
)

const (
	defaultMiimon = 100 // milliseconds; 0, the kernel's, would find no failure
	maxARPTargets = 16  // BOND_MAX_ARP_TARGETS
)

var (
	modes       = []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}
	hashed      = []string{"balance-xor", "802.3ad", "balance-tlb"}       // modes that use a hash
	oneActive   = []string{"active-backup", "balance-tlb", "balance-alb"} // modes with a member that is preferred
	carrierOnly = []string{"802.3ad", "balance-tlb", "balance-alb"}       // modes without ARP monitoring
	lacpRates   = []string{"slow", "fast"}
	xmitHashes  = []string{"layer2", "layer2+3", "layer3+4", "encap2+3", "encap3+4", "vlan+srcmac"}
)

func (e *vlanEntry) convert(k *checker) *VLAN {
	if e == nil {
		return nil
	}
	before := len(k.errs)
	if e.ID < 1 || e.ID > 4094 {
		k.bad("vlan.id", "%d is not between 1 and 4094", e.ID)
	}
	if e.Parent == "" {
		k.bad("vlan.parent", "it is missing: the interface that carries the VLAN")
	}
	if len(k.errs) > before {
		return nil
	}
	return &VLAN{ID: e.ID, Parent: e.Parent}
}

func (e *bondEntry) convert(k *checker) *Bond {
	if e == nil {
		return nil
	}
	before := len(k.errs)
	b := &Bond{
		Members: e.Members, MAC: k.mac("bond.mac", e.MAC), Mode: e.Mode, Primary: e.Primary,
		UpDelay: e.UpDelay, DownDelay: e.DownDelay, MinLinks: e.MinLinks, ARPInterval: e.ARPInterval,
		LACPRate: e.LACPRate, XmitHash: e.XmitHash,
	}
	if b.Mode == "" {
		b.Mode = "active-backup" // the one that works with any switch
	}
	for n, s := range e.ARPTargets {
		b.ARPTargets = append(b.ARPTargets, k.arpTarget(at("bond.arpTargets", n), s))
	}
	k.monitor(b, e.Miimon)
	k.bond(b)
	if len(k.errs) > before {
		return nil
	}
	b.setDefaults()
	return b
}

// monitor checks how the bond finds members that do not work: by their carrier, or by
// asking others (ARP). The kernel does one of these.
func (k *checker) monitor(b *Bond, miimon *int) {
	switch {
	case miimon != nil:
		b.Miimon = *miimon
	case b.ARPInterval == 0:
		b.Miimon = defaultMiimon
	}
	if b.ARPInterval == 0 {
		k.between("bond.miimon", b.Miimon, 1, 60_000)
		if len(b.ARPTargets) > 0 {
			k.bad("bond.arpTargets", "nobody asks them: set arpInterval")
		}
		k.delays(b)
		return
	}
	k.between("bond.arpInterval", b.ARPInterval, 1, 60_000)
	if miimon != nil || b.UpDelay+b.DownDelay != 0 {
		k.bad("bond.arpInterval", "it takes the place of miimon, upDelay and downDelay: remove these or it")
	}
	if len(b.ARPTargets) == 0 || len(b.ARPTargets) > maxARPTargets {
		k.bad("bond.arpTargets", "arpInterval needs 1 to %d addresses to ask", maxARPTargets)
	}
	if slices.Contains(carrierOnly, b.Mode) {
		k.bad("bond.arpInterval", "mode %s works with miimon only", b.Mode)
	}
}

func (k *checker) delays(b *Bond) {
	for field, n := range map[string]int{"bond.upDelay": b.UpDelay, "bond.downDelay": b.DownDelay} {
		k.between(field, n, 0, 600_000)
		if b.Miimon > 0 && n%b.Miimon != 0 {
			k.bad(field, "%d is no multiple of miimon, which is %d", n, b.Miimon)
		}
	}
}

func (k *checker) arpTarget(field, s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() || !hostaddr.Valid(a) {
		k.bad(field, "%q is no IPv4 address to ask", s)
	}
	return a
}

func (k *checker) between(field string, n, least, most int) {
	if n < least || n > most {
		k.bad(field, "%d is not between %d and %d milliseconds", n, least, most)
	}
}

func (k *checker) bond(b *Bond) {
	k.members(b.Members)
	k.oneOf("bond.mode", b.Mode, modes)
	k.oneOf("bond.lacpRate", b.LACPRate, lacpRates)
	k.oneOf("bond.xmitHash", b.XmitHash, xmitHashes)
	if b.LACPRate != "" && b.Mode != "802.3ad" {
		k.bad("bond.lacpRate", "it belongs to mode 802.3ad only")
	}
	if b.XmitHash != "" && !slices.Contains(hashed, b.Mode) {
		k.bad("bond.xmitHash", "it belongs to the modes 802.3ad, balance-xor and balance-tlb only")
	}
	if b.MinLinks < 0 {
		k.bad("bond.minLinks", "%d is below 0", b.MinLinks)
	}
	if b.MinLinks > 0 && b.Mode != "802.3ad" {
		k.bad("bond.minLinks", "it belongs to mode 802.3ad only")
	}
	k.primary(b)
}

func (k *checker) primary(b *Bond) {
	if b.Primary != "" && !slices.Contains(b.Members, b.Primary) {
		k.bad("bond.primary", "%q is no member", b.Primary)
	}
	if b.Primary != "" && !slices.Contains(oneActive, b.Mode) {
		k.bad("bond.primary", "it belongs to the modes active-backup, balance-tlb and balance-alb only")
	}
}

// setDefaults names the kernel's defaults, so that taking a field out of the
// file sets it back.
func (b *Bond) setDefaults() {
	if b.LACPRate == "" && b.Mode == "802.3ad" {
		b.LACPRate = "slow"
	}
	if b.XmitHash == "" && slices.Contains(hashed, b.Mode) {
		b.XmitHash = "layer2"
	}
}

func (k *checker) members(members []string) {
	if len(members) == 0 {
		k.bad("bond.members", "it is missing: the interfaces that make up the bond")
	}
	for n, m := range members {
		if m == "" {
			k.bad(at("bond.members", n), "it is empty")
		}
		if slices.Contains(members[:n], m) {
			k.bad(at("bond.members", n), "%s is there twice", m)
		}
	}
}

func (k *checker) oneOf(field, s string, choices []string) {
	if s != "" && !slices.Contains(choices, s) {
		k.bad(field, "%q is none of %s", s, strings.Join(choices, ", "))
	}
}

// check finds what does not fit together between entries. Where two are in
// conflict the later one, by name, loses.
func (c *Config) check(where string) []error {
	var errs []error
	seen := map[string]string{} // what only one entry may have, and which does
	for _, key := range slices.Sorted(maps.Keys(c.Interfaces)) {
		k := &checker{where: where + "." + key}
		i := c.Interfaces[key]
		usable := c.checkRelations(k, key, i)
		c.checkUnique(k, key, i, seen)
		if len(k.errs) == 0 {
			continue
		}
		errs = append(errs, k.errs...)
		switch {
		case !usable || slices.Contains(k.fields, "mac") || slices.Contains(k.fields, "vlan"):
			delete(c.Interfaces, key)
		case slices.Contains(k.fields, ""): // a member of a bond
			c.Interfaces[key] = i.fallback()
		default:
			i.leaveOut(k.fields)
		}
	}
	return errs
}

// checkRelations reports whether at least the interface itself can be had.
func (c *Config) checkRelations(k *checker, key string, i *Interface) bool {
	if bond := c.BondOf(key); bond != "" {
		if i.Unmanaged {
			k.bad("manage", "it is a member of %s, which is made here: remove it there or here", bond)
			i.Unmanaged = false
		}
		if !i.virtual() && i.hasOwn() {
			k.bad("", "it is a member of %s and cannot have addresses, routes and the like; move them there", bond)
		}
	}
	before := len(k.errs)
	if i.VLAN != nil {
		c.checkParent(k, key, i.VLAN.Parent)
	}
	if i.Bond != nil {
		c.checkMembers(k, key, i.Bond)
	}
	return len(k.errs) == before
}

func (i *Interface) hasOwn() bool {
	return len(i.Addresses)+len(i.Routes)+len(i.DNS)+len(i.Search)+len(i.NTP)+i.MTU > 0
}

func (c *Config) checkParent(k *checker, key, parent string) {
	if bond := c.BondOf(parent); bond != "" {
		k.bad("vlan.parent", "%s is a member of %s; put the VLAN on %s", parent, bond, bond)
	}
	for p, depth := parent, 0; p != ""; depth++ {
		if p == key || depth > len(c.Interfaces) {
			k.bad("vlan.parent", "the VLAN would be its own parent")
			return
		}
		i := c.Interfaces[p]
		if i == nil || i.VLAN == nil {
			return
		}
		p = i.VLAN.Parent
	}
}

func (c *Config) checkMembers(k *checker, key string, b *Bond) {
	if b.MinLinks > len(b.Members) && !slices.ContainsFunc(b.Members, c.several) {
		k.bad("bond.minLinks", "%d is more than the bond has members", b.MinLinks)
	}
	for n, m := range b.Members {
		i := c.Interfaces[m]
		if m == key || i != nil && i.virtual() {
			k.bad(at("bond.members", n), "%s is no physical interface", m)
		}
		for other, j := range c.Interfaces {
			if other < key && j.Bond != nil && slices.Contains(j.Bond.Members, m) {
				k.bad(at("bond.members", n), "%s is already a member of %s", m, other)
			}
		}
	}
}

// several reports whether the name can mean more than one interface.
func (c *Config) several(name string) bool {
	i := c.Interfaces[name]
	return i != nil && i.several()
}

func (c *Config) checkUnique(k *checker, key string, i *Interface, seen map[string]string) {
	claim := func(field, what, words string) {
		if other, taken := seen[what]; taken {
			k.bad(field, "%s is already %s", words, other)
			return
		}
		seen[what] = "in the entry " + key
	}
	if i.MAC != "" {
		claim("mac", "mac "+i.MAC, i.MAC)
	}
	if i.VLAN != nil {
		tag := fmt.Sprintf("VLAN %d of %s", i.VLAN.ID, i.VLAN.Parent)
		claim("vlan", tag, tag)
	}
	for n, p := range i.Addresses {
		claim(at("addresses", n), "address "+p.Addr().String(), p.Addr().String())
	}
	for n, r := range i.Routes {
		if r.Metric != 0 {
			what := fmt.Sprintf("route to %s with metric %d", r.To, r.Metric)
			claim(at("routes", n), what, "a "+what)
		}
	}
}
