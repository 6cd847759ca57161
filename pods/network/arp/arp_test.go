package arp

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"

	"kios/test/lab"
)

var (
	mac  = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	addr = netip.MustParseAddr("10.0.2.15")
)

func TestRequests(t *testing.T) {
	const head, tail = "0001080006040001525400123456", "0000000000000a00020f"
	if got, want := hex.EncodeToString(request(mac, netip.Addr{}, addr)), head+"00000000"+tail; got != want {
		t.Errorf("probe = %s, want %s", got, want)
	}
	if got, want := hex.EncodeToString(request(mac, addr, addr)), head+"0a00020f"+tail; got != want {
		t.Errorf("announcement = %s, want %s", got, want)
	}
}

func TestClaimIn(t *testing.T) {
	other := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	changed := func(at int, value byte) []byte {
		p := request(other, addr, addr)
		p[at] = value
		return p
	}
	for _, tc := range []struct {
		what   string
		packet []byte
		want   bool
	}{
		{"an announcement", request(other, addr, addr), true},
		{"a reply", changed(atOp+1, 2), true},
		{"a question", request(other, addr, netip.MustParseAddr("10.0.2.2")), true},
		{"a probe", request(other, netip.Addr{}, addr), false},
		{"our own", request(mac, addr, addr), false},
		{"another kind of hardware", changed(1, 6), false},
		{"another protocol", changed(2, 0x86), false},
		{"short", request(other, addr, addr)[:length-1], false},
		{"padded", append(request(other, addr, addr), make([]byte, 18)...), true},
	} {
		c, ok := claimIn(tc.packet, mac)
		if ok != tc.want || ok && (c.Addr != addr || c.By.String() != other.String()) {
			t.Errorf("%s: claim = %v, %v, want %v", tc.what, c, ok, tc.want)
		}
	}
}

func FuzzClaimIn(f *testing.F) {
	f.Add([]byte(request(mac, addr, addr)))
	f.Fuzz(func(t *testing.T, packet []byte) {
		var c Claim
		var ok bool
		if took := lab.Allocated(func() { c, ok = claimIn(packet, mac) }); took > 64<<10 {
			t.Errorf("a packet of %d bytes became %d", len(packet), took)
		}
		if ok && (len(c.By) != hardwareSize || !c.Addr.Is4() || c.Addr.IsUnspecified()) {
			t.Errorf("claim %v", c)
		}
	})
}
