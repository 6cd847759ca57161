package network

import (
	"time"

	"kios/internal/boottime"
	"kios/pods/network/lease"
)

// lend lets go of an interface that belongs to somebody else's bridge or bond now, as
// a CNI plugin has it that takes the uplink into a bridge of its own. The plugin moves
// the address there, but knows nothing of name servers. So what the interface brought
// stays while its leases last. Nobody renews these here: the answers come to the
// bridge.
func (s *Service) lend(l link) {
	if _, lent := s.lent[l.index]; lent {
		return
	}
	s.lent[l.index] = nil
	kept, err := s.store.load(l.name, l.mac, boottime.Now())
	if p := s.ports[l.index]; p != nil {
		p.logf("it belongs to %s now and is no longer configured here; its name servers stay as long as its leases. List %[1]s in %s to have a lease there",
			s.masterOf(l), s.File)
		s.stop(p)
		s.sources.forget(l.index)
	} else if err != nil || kept.Lease == nil && kept.Lease6 == nil {
		return
	}
	expiry := lease.Forever
	if kept.Lease != nil {
		expiry = min(expiry, kept.Lease.Expiry)
		s.offers.set(l.index, byDHCP4, learned4(kept.Lease))
	}
	if kept.Lease6 != nil {
		expiry = min(expiry, kept.Lease6.Expiry)
		s.offers.set(l.index, byDHCP6, learned6(kept.Lease6))
	}
	if expiry != lease.Forever {
		s.lent[l.index] = time.AfterFunc(expiry-boottime.Now(), func() { s.offers.forget(l.index) })
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
