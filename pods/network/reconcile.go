package network

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"

	"github.com/vishvananda/netlink"

	"kios/pods/network/netconf"
)

// arrange brings everything in line with the file.
func (s *Service) arrange(ctx context.Context) {
	for _, key := range slices.Sorted(maps.Keys(s.conf.Interfaces)) {
		if i := s.conf.Interfaces[key]; i.Bond != nil {
			s.make(key, bondOf(key, i.Bond))
		}
	}
	for _, l := range s.ordered() {
		s.settle(ctx, l)
		key, _ := s.conf.Find(l.name, l.perm)
		s.makeVLANs(key, l)
	}
	s.missing()
}

// ordered returns the interfaces such that a VLAN comes after what it is on.
func (s *Service) ordered() []link {
	rank := map[string]int{"bond": 1, "vlan": 2}
	return slices.SortedFunc(maps.Values(s.links), func(a, b link) int {
		return cmp.Or(cmp.Compare(rank[a.kind], rank[b.kind]), cmp.Compare(a.index, b.index))
	})
}

// missing names what the file speaks of and nobody has seen. That is no error:
// drivers may still be on their way.
func (s *Service) missing() {
	seen := map[string]bool{}
	for _, l := range s.links {
		key, _ := s.conf.Find(l.name, l.perm)
		seen[key], seen[l.name] = true, true
	}
	for _, key := range slices.Sorted(maps.Keys(s.conf.Interfaces)) {
		i := s.conf.Interfaces[key]
		switch {
		case i.Bond != nil:
			for _, m := range i.Bond.Members {
				if !seen[m] {
					s.Log.Printf("%s: its member %s is not there; it is added when it appears", key, m)
				}
			}
		case i.VLAN != nil && !seen[i.VLAN.Parent] && s.conf.Interfaces[i.VLAN.Parent] == nil:
			s.Log.Printf("%s: its parent %s is not there; the VLAN is made when it appears", key, i.VLAN.Parent)
		case i.VLAN == nil && !seen[key]:
			s.Log.Printf("%s: there is no such interface; its entry counts when it appears", key)
		}
	}
}

// settle decides what is to become of one interface and has it done.
func (s *Service) settle(ctx context.Context, l link) {
	key, entry := s.conf.Find(l.name, l.perm)
	bond := s.bond(s.conf.BondOf(key, l.name))
	switch {
	case l.gone:
		s.abandon(l)
	case !l.ether || len(l.mac) != 6:
	case l.ours && !s.blind.Load() && !isVirtual(entry, l.kind):
		s.unmake(l)
	case bond != nil && !isVirtual(entry, l.kind):
		s.enlist(l, bond)
	case l.master != 0 && s.links[l.master].ours && !s.blind.Load():
		s.dismiss(l)
	case l.master != 0 || isTaken(entry, l.kind):
		s.abandon(l)
	case entry == nil && !l.ours && len(s.conf.VLANsOn(key, l.name)) == 0 && !l.chosen(s.Interfaces, s.Sysfs):
		s.withdraw(l)
	default:
		if entry == nil {
			entry = netconf.Default()
		}
		s.attend(ctx, l, entry)
	}
}

func isVirtual(i *netconf.Interface, kind string) bool {
	return i != nil && (i.VLAN != nil && kind == "vlan" || i.Bond != nil && kind == "bond")
}

// isTaken reports whether the entry is about a VLAN or bond whose name something
// else has, which was said when it could not be made.
func isTaken(i *netconf.Interface, kind string) bool {
	return i != nil && (i.VLAN != nil || i.Bond != nil) && !isVirtual(i, kind)
}

// attend makes the interface a port with this configuration, unless it is.
func (s *Service) attend(ctx context.Context, l link, conf *netconf.Interface) {
	p := s.ports[l.index]
	if p != nil && (p.name != l.name || !bytes.Equal(p.mac, l.mac) || !reflect.DeepEqual(p.conf, conf)) {
		p.stop()
		delete(s.ports, l.index)
		p = nil
	}
	if p == nil {
		p = s.start(ctx, l, conf)
		s.ports[l.index] = p
	}
	p.linkChanged(l)
}

// abandon lets go of an interface that is gone, or somebody else's by now, and
// leaves what it has.
func (s *Service) abandon(l link) {
	p := s.ports[l.index]
	if p == nil {
		return
	}
	p.logf("no longer configured here")
	p.stop()
	delete(s.ports, l.index)
	if err := s.store.forget(p.name); err != nil {
		p.logf("%v", err)
	}
	s.offers.forget(l.index)
}

// withdraw lets go of an interface and takes everything back that it has from
// us.
func (s *Service) withdraw(l link) {
	if s.ports[l.index] != nil {
		s.strip(l)
		s.abandon(l)
	}
}

// sweep strips interfaces that lost their entry while this program was not
// running.
func (s *Service) sweep() {
	found, err := marked()
	if err != nil {
		s.Log.Printf("look for what is left from before: %v", err)
	}
	for _, l := range s.links {
		if s.ports[l.index] == nil && l.ether && l.master == 0 && (found[l.index] || s.store.knows(l.name)) {
			s.strip(l)
		}
	}
}

// strip takes everything from the interface that it has from us.
func (s *Service) strip(l link) {
	if p := s.ports[l.index]; p != nil {
		p.stop()
	}
	p := &port{Service: s, link: l, conf: &netconf.Interface{}}
	p.dropLeases()
	p.applyStatic()
	p.setMTU()
}

// bond returns the bond of that name, or nil: why it could not be made has been
// said, and its members count as ordinary interfaces.
func (s *Service) bond(name string) netlink.Link {
	if name == "" {
		return nil
	}
	nl, err := netlink.LinkByName(name)
	if err != nil || nl.Type() != "bond" {
		return nil
	}
	return nl
}

// enlist makes the interface a member of a bond.
func (s *Service) enlist(l link, bond netlink.Link) {
	name, index := bond.Attrs().Name, bond.Attrs().Index
	nl, err := netlink.LinkByIndex(l.index) // l may be older than the bond
	if err != nil || nl.Attrs().MasterIndex == index {
		return
	}
	if nl.Attrs().MasterIndex != 0 {
		s.Log.Printf("%s: %s belongs to another interface already and is not added", name, l.name)
		s.abandon(l)
		return
	}
	s.strip(l) // also what is left from before a restart
	s.abandon(l)
	// The kernel refuses a member that is up, and brings it up again itself.
	if err := netlink.LinkSetDown(nl); err != nil {
		s.Log.Printf("%s: set %s down: %v", name, l.name, err)
		return
	}
	if err := netlink.LinkSetMasterByIndex(nl, index); err != nil {
		s.Log.Printf("%s: add %s: %v", name, l.name, err)
		return
	}
	s.Log.Printf("%s: added %s", name, l.name)
}

// dismiss takes the interface out of a bond of ours. The kernel's message about
// that comes back here, and then it is an interface like any other.
func (s *Service) dismiss(l link) {
	nl, err := netlink.LinkByIndex(l.index)
	if err != nil {
		return
	}
	if err := netlink.LinkSetNoMaster(nl); err != nil {
		s.Log.Printf("%s: remove it from its bond: %v", l.name, err)
	}
}
