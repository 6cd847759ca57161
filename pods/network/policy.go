package network

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kios/internal/boottime"
	"kios/pods/network/netconf"
)

// maxUnlisted is how many interfaces get DHCP without being in the file. It bounds
// what a machine with hundreds of functions costs; the first ones are enough to
// reach it.
const maxUnlisted = 32

// isChosen reports whether an interface that the file does not list is to get DHCP. It
// is decided once for each interface: one in use must not be let go because another
// one appeared.
func (s *Service) isChosen(l link) bool {
	if len(s.Interfaces) > 0 {
		return slices.Contains(s.Interfaces, l.name)
	}
	if !s.hardware.isPhysical(l.name) {
		return false
	}
	d, decided := s.decisions[l.index]
	if !decided || d.name != l.name || d.against == twin {
		d = decision{l.name, s.reasonAgainst(l)}
		s.decisions[l.index] = d
		if d.against != "" {
			s.Log.Printf("%s: left alone: %s; list it in %s to configure it", l.name, d.against, s.File)
		}
	}
	return d.against == ""
}

// decision is what was decided about an interface without an entry.
type decision struct{ name, against string }

// reasonAgainst says why an interface without an entry is left alone, or "".
func (s *Service) reasonAgainst(l link) string {
	policy := s.conf.Unlisted
	switch {
	case policy == netconf.None:
		return `the file says "unlisted: none"`
	case policy == netconf.All:
	case s.hardware.isVirtualFunction(l.name):
		return "it is a virtual function of a card of this machine"
	case s.hardware.isLate(l.name) && !s.hasLease(l) && s.hasWay(l):
		return "it was plugged in later, and the node has a network without it"
	case policy == netconf.First && s.unlisted()+s.listed(l) > 0:
		return `the file says "unlisted: first", and it is not the first`
	}
	if s.unlisted() >= maxUnlisted {
		return "too many other interfaces use DHCP without being in the file"
	}
	return ""
}

const twin = "another interface has the addresses of its entry"

// isTwin reports whether another interface has addresses of the entry already: two cards
// can have one hardware address, as a clone has, or a virtual function and what it speeds
// up. One that has had no addresses by the file, as it had DHCP, comes in its turn.
func (s *Service) isTwin(l link, entry *netconf.Interface) bool {
	for _, p := range s.ports {
		has := func(a netip.Prefix) bool { return slices.Contains(p.conf.Addresses, a) }
		if _, other := s.conf.Find(s.id(p.link)); p.link.index == l.index || other != entry || !slices.ContainsFunc(entry.Addresses, has) {
			continue
		}
		if s.decisions[l.index].against != twin {
			s.Log.Printf("%s: left alone: %s, %s; find it by match with device to configure it", l.name, twin, p.link.name)
		}
		s.decisions[l.index] = decision{l.name, twin}
		return true
	}
	if s.decisions[l.index].against == twin {
		delete(s.decisions, l.index)
	}
	return false
}

// replaceTwins has other interfaces in place of those that do not have the addresses of
// their entry any more: one may be gone, or have become part of a bridge.
func (s *Service) replaceTwins(ctx context.Context) {
	for _, index := range slices.Sorted(maps.Keys(s.decisions)) {
		if s.decisions[index].against == twin {
			s.reconcile(ctx, s.links[index])
		}
	}
}

// unlisted counts the interfaces that were chosen.
func (s *Service) unlisted() int {
	n := 0
	for _, d := range s.decisions {
		if d.against == "" {
			n++
		}
	}
	return n
}

// listed counts the other physical interfaces that the file has managed: as a card, or
// for a bond or a VLAN.
func (s *Service) listed(l link) int {
	n := 0
	for _, o := range s.links {
		_, entry := s.conf.Find(s.id(o))
		names := s.names(o)
		managed := entry != nil && !entry.Unmanaged || s.conf.BondOf(names...) != "" || len(s.conf.VLANsOn(names...)) > 0
		if managed && o.index != l.index && s.hardware.isPhysical(o.name) {
			n++
		}
	}
	return n
}

// decideAgain forgets what was decided about interfaces without an entry: all of it
// with another policy, and otherwise what was decided against them. One in use is not
// let go because of an edit that does not concern it.
func (s *Service) decideAgain(policy netconf.Unlisted) {
	changed := s.conf == nil || s.conf.Unlisted != policy
	maps.DeleteFunc(s.decisions, func(_ int, d decision) bool { return changed || d.against != "" })
}

// hasLease reports whether the interface was in use before a restart of this program:
// it had DHCP, or what routers say.
func (s *Service) hasLease(l link) bool {
	kept, err := s.store.load(l.name, l.mac, boottime.Now())
	return err == nil && (kept.Lease != nil || kept.Lease6 != nil || kept.Routers != nil)
}

// hasWay reports whether another interface that is managed has an address.
func (s *Service) hasWay(l link) bool {
	for _, p := range s.ports {
		if p.link.index == l.index {
			continue
		}
		addresses, err := netlink.AddrList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: p.link.index}}, netlink.FAMILY_ALL)
		global := func(a netlink.Addr) bool { return a.Scope == unix.RT_SCOPE_UNIVERSE }
		if err == nil && slices.ContainsFunc(addresses, global) {
			return true
		}
	}
	return false
}

// names are by what entries of the file mean the interface.
func (s *Service) names(l link) []string { return s.conf.Names(s.id(l)) }

// id is by what the file finds an interface.
func (s *Service) id(l link) netconf.ID {
	id := netconf.ID{Name: l.name, MAC: l.perm}
	if s.conf.HasPatterns() {
		id.Driver = s.hardware.driver(l.name)
		_, id.Device = s.hardware.device(l.name)
	}
	return id
}
