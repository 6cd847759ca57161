package hostaddr

import (
	"net"
	"net/netip"
	"testing"
)

func TestValid(t *testing.T) {
	for text, want := range map[string]bool{
		"0.0.0.0":          false,
		"0.1.2.3":          false,
		"127.0.0.1":        false,
		"128.0.0.1":        true,
		"192.0.2.1":        true,
		"223.255.255.255":  true,
		"224.0.0.1":        false,
		"239.255.255.255":  false,
		"240.0.0.1":        true, // reserved, but in use
		"255.255.255.254":  true,
		"255.255.255.255":  false,
		"::":               false,
		"::1":              false,
		"::ffff:192.0.2.1": false,
		"ff02::1":          false,
		"fe80::1":          true,
		"fe80::1%eth0":     true,
		"2001:db8::1":      true,
	} {
		if got := Valid(netip.MustParseAddr(text)); got != want {
			t.Errorf("Valid(%s) = %v, want %v", text, got, want)
		}
	}
	if Valid(netip.Addr{}) {
		t.Error("Valid of no address at all = true")
	}
}

func TestFromIP(t *testing.T) {
	for _, tc := range []struct {
		ip     net.IP
		v4, v6 bool
	}{
		{net.IPv4(192, 0, 2, 1), true, false}, // in the form of 16 bytes
		{net.IPv4(192, 0, 2, 1).To4(), true, false},
		{net.IPv4zero, false, false},
		{net.ParseIP("2001:db8::1"), false, true},
		{net.IPv6loopback, false, false},
		{net.IP{1, 2, 3}, false, false},
		{nil, false, false},
	} {
		if _, got := FromIPv4(tc.ip); got != tc.v4 {
			t.Errorf("FromIPv4(%v) = %v, want %v", []byte(tc.ip), got, tc.v4)
		}
		if _, got := FromIPv6(tc.ip); got != tc.v6 {
			t.Errorf("FromIPv6(%v) = %v, want %v", []byte(tc.ip), got, tc.v6)
		}
	}
}

func TestIsEdge(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.2.0/24":   true,
		"10.0.2.255/24": true,
		"10.0.2.255/16": false,
		"10.0.2.7/30":   true,
		"10.0.2.6/30":   false,
		"10.0.2.0/31":   false,
		"10.0.2.0/32":   false,
		"2001:db8::/64": false,
	} {
		if got := IsEdge(netip.MustParsePrefix(text)); got != want {
			t.Errorf("IsEdge(%s) = %v, want %v", text, got, want)
		}
	}
}

func TestOnLink(t *testing.T) {
	for text, want := range map[string]string{
		"fe80::1":     "fe80::1%eth0",
		"2001:db8::1": "2001:db8::1",
		"169.254.1.1": "169.254.1.1",
	} {
		if got := OnLink(netip.MustParseAddr(text), "eth0").String(); got != want {
			t.Errorf("OnLink(%s) = %s, want %s", text, got, want)
		}
	}
}
