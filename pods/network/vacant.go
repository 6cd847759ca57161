package network

import "github.com/vishvananda/netlink"

// Two interfaces can want the same route with the same metric, and the kernel takes the
// first one's. When that one loses it, the other must not wait for its next renewal: it
// may be the only way now.

// vacate has the loop look for routes that can be set now, because an interface may
// have lost some.
func (s *Service) vacate() {
	select {
	case s.vacant <- struct{}{}:
	default: // it will
	}
}

func (s *Service) fillVacant() {
	for _, p := range s.ports {
		p.addMissing()
	}
}

// addMissing adds routes that could not be set before. What still cannot was said.
func (p *port) addMissing() {
	static := p.static()
	want := append(static.routesOf(netlink.FAMILY_V4), static.routesOf(netlink.FAMILY_V6)...)
	if l := p.kept().Lease; l != nil && p.conf.DHCP4 {
		want = append(want, routesOf(p.link.index, l, p.conf)...)
	}
	for _, r := range onLinkFirst(want) {
		if err := netlink.RouteAdd(&r); err == nil {
			p.logf("route to %s: set, because no other interface has it any more", r.Dst)
		}
	}
}
