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

// reconcileAll brings everything in line with the file.
func (s *Service) reconcileAll(ctx context.Context) {
	for _, key := range slices.Sorted(maps.Keys(s.conf.Interfaces)) {
		if i := s.conf.Interfaces[key]; i.Bond != nil {
			s.makeBond(key, i.Bond)
		}
	}
	for _, l := range s.ordered() {
		s.reconcile(ctx, l)
		s.makeVLANs(l)
	}
	s.replaceTwins(ctx)
	s.missing()
}

// ordered returns the interfaces such that a VLAN comes after what it is on, and
// members of a bond in the order of the file.
func (s *Service) ordered() []link {
	rank := map[string]int{"bond": 1, "vlan": 2}
	return slices.SortedFunc(maps.Values(s.links), func(a, b link) int {
		return cmp.Or(cmp.Compare(rank[a.kind], rank[b.kind]), cmp.Compare(s.place(a), s.place(b)), cmp.Compare(a.index, b.index))
	})
}

// place returns the place of an interface among the members of its bond, from 0, or -1.
func (s *Service) place(l link) int {
	names := s.names(l)
	bond := s.conf.Interfaces[s.conf.BondOf(names...)]
	if bond == nil {
		return -1
	}
	return slices.IndexFunc(bond.Bond.Members, func(m string) bool { return slices.Contains(names, m) })
}

// missing logs which interfaces of the file do not exist. That is no error: their
// drivers may not be loaded yet.
func (s *Service) missing() {
	seen := map[string]bool{}
	for _, l := range s.links {
		for _, name := range s.names(l) {
			seen[name] = true
		}
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

// reconcile decides what is to become of one interface, and has it done.
func (s *Service) reconcile(ctx context.Context, l link) {
	_, entry := s.conf.Find(s.id(l))
	bond := s.bond(s.conf.BondOf(s.names(l)...))
	if l.gone || l.master == 0 {
		s.reclaim(l)
	}
	switch {
	case l.gone:
		s.release(l, asItIs)
	case !l.ether || len(l.mac) != 6:
	case l.ours && !s.blind.Load() && !isVirtual(entry, l.kind):
		s.remove(l)
	case bond != nil && !isVirtual(entry, l.kind):
		s.enslave(l, bond)
	case l.master != 0 && s.links[l.master].ours && !s.blind.Load():
		s.free(l)
	case l.master != 0:
		s.lend(l)
	case isTaken(entry, l.kind):
		s.release(l, asItIs)
	case s.isWanted(l, entry):
		if entry == nil {
			entry = netconf.Default()
		}
		s.manage(ctx, l, entry)
	case s.ports[l.index] != nil:
		s.release(l, withoutOurs)
	}
}

// isWanted reports whether the interface is to be managed: the file has an entry
// for it or puts a VLAN on it, this program made it, or it is chosen without an
// entry.
func (s *Service) isWanted(l link, entry *netconf.Interface) bool {
	if entry != nil {
		return !entry.Unmanaged && !s.isTwin(l, entry)
	}
	return l.ours || len(s.conf.VLANsOn(s.names(l)...)) > 0 || s.isChosen(l)
}

func isVirtual(i *netconf.Interface, kind string) bool {
	return i != nil && (i.VLAN != nil && kind == "vlan" || i.Bond != nil && kind == "bond")
}

// isTaken reports whether the entry describes a VLAN or a bond whose name another
// interface has. make has logged that.
func isTaken(i *netconf.Interface, kind string) bool {
	return i != nil && (i.VLAN != nil || i.Bond != nil) && !isVirtual(i, kind)
}

// manage makes the interface a port with this configuration, unless it is one.
func (s *Service) manage(ctx context.Context, l link, conf *netconf.Interface) {
	p := s.ports[l.index]
	if p != nil && (p.link.name != l.name || !bytes.Equal(p.link.mac, l.mac)) {
		s.replaceCard(p)
		p = nil
	}
	if p != nil && !reflect.DeepEqual(p.conf, conf) {
		s.stop(p)
		p = nil
	}
	if p == nil {
		p = newPort(ctx, s, l, conf)
		s.ports[l.index] = p
	}
	p.linkChanged(l)
}

// replaceCard ends a port whose interface has another address or name now. Its leases
// were another client's: nobody would renew them.
func (s *Service) replaceCard(p *port) {
	s.stop(p)
	kept := p.kept()
	if kept.Lease != nil {
		outside4{port: p}.Drop(kept.Lease)
	}
	if kept.Lease6 != nil {
		outside6{p}.Drop(kept.Lease6)
	}
	p.logErrors(s.store.forget(p.link.name))
}

// stop ends a port. Its interface keeps what it has.
func (s *Service) stop(p *port) {
	p.stop()
	delete(s.ports, p.link.index)
	s.vacate()
}

// condition is how an interface is released.
type condition int

const (
	asItIs      condition = iota // it is gone, or somebody else's by now
	withoutOurs                  // it loses all that it has from us
)

// release lets go of an interface.
func (s *Service) release(l link, left condition) {
	if left == withoutOurs {
		s.unconfigure(l)
	}
	p := s.ports[l.index]
	if p == nil {
		return
	}
	p.logf("no longer configured here")
	s.stop(p)
	p.logErrors(s.store.forget(p.link.name))
	s.offers.forget(l.index)
	s.sources.forget(l.index)
}

// unconfigure takes everything from the interface that it has from us.
func (s *Service) unconfigure(l link) {
	if p := s.ports[l.index]; p != nil {
		p.stop()
	}
	p := &port{service: s, link: l, conf: &netconf.Interface{}}
	p.dropLeases()
	p.applyStatic()
	p.setMTU()
	p.logErrors(p.resetRA())
}

// releaseLeftovers releases interfaces that lost their entry while this program
// was not running.
func (s *Service) releaseLeftovers() {
	found, err := marked()
	if err != nil {
		s.Log.Printf("look for what is left from before: %v", err)
	}
	for _, l := range s.links {
		if s.ports[l.index] == nil && l.ether && l.master == 0 && (found[l.index] || s.store.knows(l.name)) {
			s.release(l, withoutOurs)
		}
	}
}

// bond returns the bond of that name, or nil if it could not be made, which make
// has logged. Its members then count as ordinary interfaces.
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

// enslave makes the interface a member of a bond.
func (s *Service) enslave(l link, bond netlink.Link) {
	name, index := bond.Attrs().Name, bond.Attrs().Index
	nl, err := netlink.LinkByIndex(l.index) // l may be older than the bond
	if err != nil {
		return
	}
	if nl.Attrs().MasterIndex == index {
		s.preferMember(l, bond)
		return
	}
	if nl.Attrs().MasterIndex != 0 {
		s.Log.Printf("%s: %s belongs to another interface already and is not added", name, l.name)
		s.release(l, asItIs)
		return
	}
	s.release(l, withoutOurs) // also of what is left from before a restart
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
	s.preferMember(l, bond)
}

// free takes the interface out of a bond of ours. The kernel's message about that
// comes back here, and then it is an interface like any other.
func (s *Service) free(l link) {
	nl, err := netlink.LinkByIndex(l.index)
	if err != nil {
		return
	}
	if err := netlink.LinkSetNoMaster(nl); err != nil {
		s.Log.Printf("%s: remove it from its bond: %v", l.name, err)
	}
}
