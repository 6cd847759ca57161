package network

import (
	"time"

	"kios/internal/boottime"
	"kios/pods/network/lease"
	"kios/pods/network/netconf"
)

// lend lets go of an interface that belongs to somebody else's bridge or bond now, as
// a CNI plugin has it that takes the uplink into a bridge of its own. The plugin moves
// the address there, but knows nothing of name servers. So what the interface brought
// stays while its leases last. Nobody renews these here: the answers come to the
// bridge.
func (s *Service) lend(l link) {
	_, entry := s.conf.Find(s.id(l))
	_, lent := s.lent[l.index]
	if lent && entry == nil {
		return
	}
	if !lent {
		s.lent[l.index] = nil
	}
	if p := s.ports[l.index]; p != nil {
		p.logf("it belongs to %s now and is no longer configured here; its name servers stay as long as its leases. List %[1]s in %s to have a lease there",
			s.masterOf(l), s.File)
		s.stop(p)
		s.sources.forget(l.index)
	}
	p := &port{service: s, link: l, conf: entry}
	kept := p.kept()
	if entry == nil {
		if p.conf = netconf.Default(); kept.Lease == nil && kept.Lease6 == nil {
			return
		}
	}
	if expiry := p.offerKept(kept); !lent && expiry != lease.Forever {
		s.lent[l.index] = time.AfterFunc(expiry-boottime.Now(), p.withdraw)
	}
}

// offerKept offers what the file says and, as far as that allows it, what the leases
// brought. It returns when the first of these ends.
func (p *port) offerKept(kept record) time.Duration {
	p.offer(byFile, learned{DNS: p.conf.DNS, Search: p.conf.Search, NTP: p.conf.NTP})
	expiry := lease.Forever
	if kept.Lease != nil && p.conf.DHCP4 {
		expiry = min(expiry, kept.Lease.Expiry)
		p.offer(byDHCP4, learned4(kept.Lease))
	}
	if kept.Lease6 != nil && p.conf.DHCP6 {
		expiry = min(expiry, kept.Lease6.Expiry)
		p.offer(byDHCP6, learned6(kept.Lease6))
	}
	return expiry
}

// withdraw ends the offer of what the interface learned. What the file says stays.
func (p *port) withdraw() {
	for _, from := range []origin{byDHCP4, byDHCP6, byRouter} {
		p.offer(from, learned{})
	}
}

// reclaim ends what lend began: the interface is its own again, or gone.
func (s *Service) reclaim(l link) {
	timer, lent := s.lent[l.index]
	if !lent {
		return
	}
	if timer != nil {
		timer.Stop()
	}
	delete(s.lent, l.index)
	s.offers.forget(l.index)
}

func (s *Service) masterOf(l link) string {
	if name := s.links[l.master].name; name != "" {
		return name
	}
	return "another interface"
}
