package network

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/pods/network/ndisc"
	"kios/pods/network/netconf"
	"kios/test/lab"
)

// An interface in use stays so after an edit that is not about it.
func TestDecideAgain(t *testing.T) {
	for policy, want := range map[netconf.Unlisted]map[int]decision{
		netconf.Present: {2: {"eth0", ""}},
		netconf.First:   {},
	} {
		s := &Service{conf: &netconf.Config{Unlisted: netconf.Present}}
		s.decisions = map[int]decision{2: {"eth0", ""}, 3: {"vf0", "it is a virtual function"}}
		s.decideAgain(policy)
		if d := cmp.Diff(want, s.decisions, cmp.AllowUnexported(decision{})); d != "" {
			t.Errorf("from present to %s (-want +got):\n%s", policy, d)
		}
	}
}

// Addresses by advertisements only are a use, too.
func TestInUseByRouters(t *testing.T) {
	s := &Service{store: &store{dir: t.TempDir()}}
	l := link{name: "eth0", mac: []byte{2, 0, 0, 0, 0, 1}}
	if s.hasLease(l) {
		t.Error("an interface without a record is in use")
	}
	lab.Must(t, s.store.update(l.name, l.mac, func(r *record) { r.Routers = &ndisc.Event{} }))
	if !s.hasLease(l) {
		t.Error("an interface with routers is not in use")
	}
}
