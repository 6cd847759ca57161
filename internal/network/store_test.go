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

	"kios/internal/dhcp"
)

var mac = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}

func lease() *dhcp.Lease {
	return &dhcp.Lease{
		Address: netip.MustParsePrefix("10.0.2.15/24"),
		Server:  netip.MustParseAddr("10.0.2.2"),
		Routes: []dhcp.Route{
			{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.2.2")},
			{To: netip.MustParsePrefix("10.9.0.0/16")},
		},
		DNS:   []netip.Addr{netip.MustParseAddr("10.0.2.3")},
		Renew: time.Minute, Rebind: 2 * time.Minute, Expiry: 3 * time.Minute,
	}
}

func TestStoreKeepsLease(t *testing.T) {
	s := store(filepath.Join(t.TempDir(), "network"))
	if err := s.save("eth0", mac, lease()); err != nil {
		t.Fatal(err)
	}
	got, err := s.load("eth0", mac, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lease(), got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("load, want -, got +:\n%s", diff)
	}
	if err := s.forget("eth0"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.load("eth0", mac, time.Minute); got != nil || err != nil {
		t.Errorf("load after forget = %v, %v, want nothing", got, err)
	}
}

func TestStoreIgnoresWhatDoesNotFit(t *testing.T) {
	s := store(t.TempDir())
	if err := s.save("eth0", mac, lease()); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.load("eth0", mac, 3*time.Minute); got != nil {
		t.Errorf("load of an expired lease = %v, want nil", got)
	}
	if got, _ := s.load("eth0", net.HardwareAddr{2, 0, 0, 0, 0, 1}, time.Minute); got != nil {
		t.Errorf("load for another card = %v, want nil", got)
	}
	for _, garbage := range []string{"", "{", "{}", `{"Lease":{}}`, `{"Lease":{"Address":"x"}}`} {
		if err := os.WriteFile(s.path("eth0"), []byte(garbage), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := s.load("eth0", mac, time.Minute); got != nil || err == nil {
			t.Errorf("load of %q = %v, %v, want an error", garbage, got, err)
		}
	}
}

func TestChosen(t *testing.T) {
	sysfs := t.TempDir()
	if err := os.MkdirAll(filepath.Join(sysfs, "class/net/eth0/device"), 0o755); err != nil {
		t.Fatal(err)
	}
	eth := func(name string) link { return link{name: name, mac: mac, ether: true} }
	slave, loopback := eth("eth0"), eth("eth0")
	slave.member = true
	loopback.ether = false
	for _, tc := range []struct {
		what  string
		link  link
		names []string
		want  bool
	}{
		{"physical", eth("eth0"), nil, true},
		{"virtual", eth("veth0"), nil, false},
		{"virtual, named", eth("veth0"), []string{"veth0"}, true},
		{"physical, another named", eth("eth0"), []string{"veth0"}, false},
		{"member of a bond", slave, nil, false},
		{"no Ethernet", loopback, nil, false},
	} {
		if got := tc.link.chosen(tc.names, sysfs); got != tc.want {
			t.Errorf("chosen(%s) = %v, want %v", tc.what, got, tc.want)
		}
	}
}
