package network

import (
	"errors"

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
	want.Miimon = b.Miimon
	if b.LACPRate != "" {
		want.LacpRate = netlink.StringToBondLacpRateMap[b.LACPRate]
	}
	if b.XmitHash != "" {
		want.XmitHashPolicy = netlink.StringToBondXmitHashPolicy(b.XmitHash)
	}
	return want
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

// make makes a VLAN or a bond unless there is one like it. One of ours that is
// different is replaced: the mode of a bond cannot be changed while it has
// members, nor the parent of a VLAN at all.
func (s *Service) make(name string, want netlink.Link) {
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
