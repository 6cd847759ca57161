package network

import (
	"bytes"
	"errors"
	"net"
	"slices"

	"github.com/vishvananda/netlink"

	"kios/pods/network/netconf"
)

// bondOf returns the bond that the file describes, with the file's defaults for
// what its mode uses.
func bondOf(name string, b *netconf.Bond) *netlink.Bond {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	want := netlink.NewLinkBond(attrs)
	want.Mode = netlink.StringToBondMode(b.Mode)
	want.Miimon, want.MinLinks = b.Miimon, b.MinLinks
	monitor(want, b)
	if mac, err := net.ParseMAC(b.MAC); err == nil {
		want.HardwareAddr = mac
	}
	if b.LACPRate != "" {
		want.LacpRate = netlink.StringToBondLacpRateMap[b.LACPRate]
	}
	if b.XmitHash != "" {
		want.XmitHashPolicy = netlink.StringToBondXmitHashPolicy(b.XmitHash)
	}
	return want
}

// monitor sets how the bond looks after its members. The kernel refuses even a zero for
// what belongs to the other way.
func monitor(want *netlink.Bond, b *netconf.Bond) {
	if b.ARPInterval == 0 {
		want.UpDelay, want.DownDelay = b.UpDelay, b.DownDelay
		return
	}
	want.ArpInterval = b.ARPInterval
	for _, a := range b.ARPTargets {
		want.ArpIpTargets = append(want.ArpIpTargets, a.AsSlice())
	}
}

// makeBond makes a bond. Without an address of its own in the file, it has that of its
// first member, as far as this is known now: it names the node to DHCP and LACP, and
// must not depend on whose driver was loaded first. The kernel would take the address
// of the member that is added first.
func (s *Service) makeBond(name string, b *netconf.Bond) {
	want := bondOf(name, b)
	if want.HardwareAddr != nil {
		s.make(name, want)
		return
	}
	s.makeWith(name, want, s.addressOf(b.Members))
}

// addressOf returns the permanent address of the first interface that has one by the
// file, or is there. Of several that fit one pattern, it is the lowest.
func (s *Service) addressOf(keys []string) net.HardwareAddr {
	for _, wanted := range keys {
		var known []string
		if i := s.conf.Interfaces[wanted]; i != nil {
			known = append(known, i.MAC)
		}
		for _, l := range s.links {
			if slices.Contains(s.names(l), wanted) {
				known = append(known, l.perm)
			}
		}
		for _, text := range slices.Sorted(slices.Values(known)) {
			if mac, err := net.ParseMAC(text); err == nil {
				return mac
			}
		}
	}
	return nil
}

// noPrimary is no member, for the kernel.
const noPrimary = 0

// preferMember makes the interface the primary member of its bond if the file says so,
// and ends that if the file does not.
func (s *Service) preferMember(l link, bond netlink.Link) {
	have, ok := bond.(*netlink.Bond)
	if !ok || s.isPrimary(s.links[have.Primary], bond) {
		return // also one of several that fit: they must not take turns
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Index = bond.Attrs().Name, bond.Attrs().Index
	change := netlink.NewLinkBond(attrs)
	switch {
	case s.isPrimary(l, bond):
		change.Primary = l.index
	case have.Primary == l.index:
		change.Primary = noPrimary
	default:
		return
	}
	if err := netlink.LinkModify(change); err != nil {
		s.Log.Printf("%s: change the primary member, %s: %v", bond.Attrs().Name, l.name, err)
	}
}

// isPrimary reports whether the file says that the bond prefers the interface.
func (s *Service) isPrimary(l link, bond netlink.Link) bool {
	entry := s.conf.Interfaces[bond.Attrs().Name]
	return entry != nil && entry.Bond != nil && entry.Bond.Primary != "" && slices.Contains(s.names(l), entry.Bond.Primary)
}

// makeVLANs makes the VLANs on the interface. One that is on another interface which
// fits as well stays there.
func (s *Service) makeVLANs(l link) {
	for _, vlan := range s.conf.VLANsOn(s.names(l)...) {
		if s.isOnAnother(vlan, l) {
			continue
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = vlan, l.index
		s.make(vlan, &netlink.Vlan{
			LinkAttrs:    attrs,
			VlanId:       s.conf.Interfaces[vlan].VLAN.ID,
			VlanProtocol: netlink.VLAN_PROTOCOL_8021Q,
		})
	}
}

func (s *Service) isOnAnother(vlan string, l link) bool {
	have, err := netlink.LinkByName(vlan)
	if err != nil || have.Type() != "vlan" || have.Attrs().ParentIndex == l.index {
		return false
	}
	parent, there := s.links[have.Attrs().ParentIndex]
	return there && slices.Contains(s.names(parent), s.conf.Interfaces[vlan].VLAN.Parent)
}

// make is makeWith for an interface whose address the kernel chooses, or the file.
func (s *Service) make(name string, want netlink.Link) { s.makeWith(name, want, nil) }

// makeWith makes a VLAN or a bond, with that address to begin with, unless there is one
// like it. One of ours that is different is replaced: the mode of a bond cannot be
// changed while it has members, nor the parent of a VLAN at all.
func (s *Service) makeWith(name string, want netlink.Link, mac net.HardwareAddr) {
	alias := mark
	if want.Attrs().HardwareAddr != nil {
		alias = markMAC
	}
	have, err := netlink.LinkByName(name)
	switch notFound := (netlink.LinkNotFoundError{}); {
	case errors.As(err, &notFound):
	case err != nil:
		s.Log.Printf("%s: look for it: %v", name, err)
		return
	case alike(have, want):
		s.claim(have, alias)
		return
	case !isOurs(have.Attrs()):
		s.Log.Printf("%s: there is an interface of that name already, of type %s, that was not made from the file; it is left as it is", name, have.Type())
		return
	default:
		s.Log.Printf("%s: replaced, because the file describes a different one", name)
		if err := netlink.LinkDel(have); err != nil {
			s.Log.Printf("%s: remove it: %v", name, err)
			return
		}
	}
	if mac != nil {
		want.Attrs().HardwareAddr = mac
	}
	if err := netlink.LinkAdd(want); err != nil {
		s.Log.Printf("%s: make the %s: %v", name, want.Type(), err)
		return
	}
	if have, err = netlink.LinkByName(name); err != nil {
		s.Log.Printf("%s: find it again: %v", name, err)
		return
	}
	s.claim(have, alias)
}

// claim marks the interface as ours.
func (s *Service) claim(nl netlink.Link, alias string) {
	if nl.Attrs().Alias == alias {
		return
	}
	if err := netlink.LinkSetAlias(nl, alias); err != nil {
		s.Log.Printf("%s: mark it: %v", nl.Attrs().Name, err)
	}
}

// alike compares the properties that the file sets.
func alike(have, want netlink.Link) bool {
	switch w := want.(type) {
	case *netlink.Vlan:
		h, ok := have.(*netlink.Vlan)
		return ok && h.VlanId == w.VlanId && h.VlanProtocol == w.VlanProtocol && h.ParentIndex == w.ParentIndex
	case *netlink.Bond:
		h, ok := have.(*netlink.Bond)
		return ok && h.Mode == w.Mode && h.Miimon == w.Miimon &&
			max(h.UpDelay, 0) == max(w.UpDelay, 0) && max(h.DownDelay, 0) == max(w.DownDelay, 0) && h.MinLinks == w.MinLinks &&
			max(h.ArpInterval, 0) == max(w.ArpInterval, 0) && slices.EqualFunc(h.ArpIpTargets, w.ArpIpTargets, net.IP.Equal) &&
			(w.HardwareAddr == nil && h.Alias != markMAC || bytes.Equal(h.HardwareAddr, w.HardwareAddr)) &&
			(w.LacpRate < 0 || h.LacpRate == w.LacpRate) &&
			(w.XmitHashPolicy < 0 || h.XmitHashPolicy == w.XmitHashPolicy)
	}
	return false
}

// remove removes a VLAN or a bond that the file does not have any more.
func (s *Service) remove(l link) {
	nl, err := netlink.LinkByIndex(l.index)
	if err != nil {
		return // the kernel was first
	}
	if err := netlink.LinkDel(nl); err != nil {
		s.Log.Printf("%s: remove it: %v", l.name, err)
		return
	}
	s.Log.Printf("%s: removed, because it is no longer in the file", l.name)
}
