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
// file, or is there.
func (s *Service) addressOf(keys []string) net.HardwareAddr {
	for _, wanted := range keys {
		text := ""
		if i := s.conf.Interfaces[wanted]; i != nil {
			text = i.MAC
		}
		for _, l := range s.links {
			if key, _ := s.conf.Find(s.id(l)); l.perm != "" && (key == wanted || l.name == wanted) {
				text = l.perm
			}
		}
		if mac, err := net.ParseMAC(text); err == nil {
			return mac
		}
	}
	return nil
}

// preferMember makes the interface the primary member of its bond, if the file says
// so.
func (s *Service) preferMember(l link, bond netlink.Link) {
	key, _ := s.conf.Find(s.id(l))
	entry := s.conf.Interfaces[bond.Attrs().Name]
	if entry == nil || entry.Bond == nil || entry.Bond.Primary == "" || entry.Bond.Primary != key && entry.Bond.Primary != l.name {
		return
	}
	if have, ok := bond.(*netlink.Bond); !ok || have.Primary == l.index {
		return
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Index = bond.Attrs().Name, bond.Attrs().Index
	change := netlink.NewLinkBond(attrs)
	change.Primary = l.index
	if err := netlink.LinkModify(change); err != nil {
		s.Log.Printf("%s: prefer %s: %v", bond.Attrs().Name, l.name, err)
	}
}

// makeVLANs makes the VLANs on the interface.
func (s *Service) makeVLANs(key string, l link) {
	for _, vlan := range s.conf.VLANsOn(key, l.name) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = vlan, l.index
		s.make(vlan, &netlink.Vlan{
			LinkAttrs:    attrs,
			VlanId:       s.conf.Interfaces[vlan].VLAN.ID,
			VlanProtocol: netlink.VLAN_PROTOCOL_8021Q,
		})
	}
}

// make is makeWith for an interface whose address the kernel chooses, or the file.
func (s *Service) make(name string, want netlink.Link) { s.makeWith(name, want, nil) }

// makeWith makes a VLAN or a bond, with that address to begin with, unless there is one like it. One of ours that is
// different is replaced: the mode of a bond cannot be changed while it has
// members, nor the parent of a VLAN at all.
func (s *Service) makeWith(name string, want netlink.Link, mac net.HardwareAddr) {
	have, err := netlink.LinkByName(name)
	switch notFound := (netlink.LinkNotFoundError{}); {
	case errors.As(err, &notFound):
	case err != nil:
		s.Log.Printf("%s: look for it: %v", name, err)
		return
	case alike(have, want):
		s.claim(have)
		return
	case have.Attrs().Alias != mark:
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
	s.claim(have)
}

// claim marks the interface as ours.
func (s *Service) claim(nl netlink.Link) {
	if nl.Attrs().Alias == mark {
		return
	}
	if err := netlink.LinkSetAlias(nl, mark); err != nil {
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
			(w.HardwareAddr == nil || bytes.Equal(h.HardwareAddr, w.HardwareAddr)) &&
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
