package network

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kios/pods/network/dhcp"
	"kios/pods/network/dhcp6"
	"kios/pods/network/lease"
	"kios/test/lab"
)

var mac = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}

var compareAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func lease4() *dhcp.Lease {
	return &dhcp.Lease{
		Address: netip.MustParsePrefix("10.0.2.15/24"),
		Server:  netip.MustParseAddr("10.0.2.2"),
		Routes: []dhcp.Route{
			{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.2.2")},
			{To: netip.MustParsePrefix("10.9.0.0/16")},
		},
		DNS:   []netip.Addr{netip.MustParseAddr("10.0.2.3")},
		Times: lease.Times{Renew: time.Minute, Rebind: 2 * time.Minute, Expiry: 3 * time.Minute},
	}
}

func TestStoreKeepsRecord(t *testing.T) {
	s := &store{dir: filepath.Join(t.TempDir(), "network")}
	want := record{HardwareAddr: mac.String(), Lease: lease4(), MTU: 1500}
	save(t, s, want)
	lab.Must(t, s.update("eth0", mac, func(r *record) { r.Lease6 = lease6() }))
	want.Lease6 = lease6()
	got, err := s.load("eth0", mac, time.Minute)
	lab.Must(t, err)
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Errorf("load, want -, got +:\n%s", diff)
	}
	lab.Must(t, s.forget("eth0"))
	if got, err := s.load("eth0", mac, time.Minute); got.Lease != nil || err != nil {
		t.Errorf("load after forget = %v, %v, want nothing", got, err)
	}
}

// The file is from a version before DHCPv4 and DHCPv6 shared code. What a version
// of then or now writes, the other one reads.
func TestStoreFormat(t *testing.T) {
	text, err := os.ReadFile("testdata/eth0.json")
	lab.Must(t, err)
	want := record{HardwareAddr: mac.String(), Lease: lease4(), Lease6: lease6(), MTU: 1500}
	want.Lease.Search, want.Lease.NTP = []string{"lab.example"}, []netip.Addr{netip.MustParseAddr("10.0.2.4")}
	want.Lease.MTU, want.Lease.Hostname = 1400, "node-7"
	want.Lease6.DNS = []netip.Addr{netip.MustParseAddr("fe80::53%eth0")}
	want.Lease6.Renew, want.Lease6.Rebind = time.Minute, 90*time.Second
	s := &store{dir: t.TempDir()}
	lab.Must(t, os.WriteFile(s.path("eth0"), text, 0o644))
	got, err := s.load("eth0", mac, time.Minute)
	lab.Must(t, err)
	if diff := cmp.Diff(want, got, compareAddrs); diff != "" {
		t.Errorf("load, want -, got +:\n%s", diff)
	}
	save(t, s, want)
	written, err := os.ReadFile(s.path("eth0"))
	if diff := cmp.Diff(string(text), string(written)); diff != "" || err != nil {
		t.Errorf("update, want -, got +:\n%s%v", diff, err)
	}
}

func save(t *testing.T, s *store, want record) {
	t.Helper()
	lab.Must(t, s.update("eth0", mac, func(r *record) { *r = want }))
}

func lease6() *dhcp6.Lease {
	return &dhcp6.Lease{
		Addresses: []dhcp6.Address{{Addr: netip.MustParseAddr("2001:db8::15"), Preferred: time.Minute, Valid: 2 * time.Minute}},
		Server:    []byte{0, 4, 1},
		Times:     lease.Times{Expiry: 2 * time.Minute},
	}
}

func TestStoreIgnoresWhatDoesNotFit(t *testing.T) {
	s := &store{dir: t.TempDir()}
	save(t, s, record{HardwareAddr: mac.String(), Lease: lease4(), Lease6: lease6()})
	if got, _ := s.load("eth0", mac, 2*time.Minute); got.Lease == nil || got.Lease6 != nil {
		t.Errorf("load after one lease has expired = %v, want the other", got)
	}
	if got, _ := s.load("eth0", mac, 3*time.Minute); got.Lease != nil || got.Lease6 != nil {
		t.Errorf("load of expired leases = %v, want none", got)
	}
	if got, _ := s.load("eth0", net.HardwareAddr{2, 0, 0, 0, 0, 1}, time.Minute); got.Lease != nil {
		t.Errorf("load for another card = %v, want no lease", got)
	}
	for _, garbage := range []string{"", "{", `{"Lease":{}}`, `{"Lease":{"Address":"x"}}`} {
		lab.WriteFile(t, s.path("eth0"), garbage)
		if got, err := s.load("eth0", mac, time.Minute); got.Lease != nil || err == nil {
			t.Errorf("load of %q = %v, %v, want an error", garbage, got, err)
		}
	}
}
