package resolvconf

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// files are what becomes of what interfaces learned, below the first line.
var files = []struct {
	name    string
	sources []Source
	want    string
}{
	{"nothing", nil, ""},
	{"one", []Source{{Servers: addrs("10.0.2.3"), Search: []string{"example.org"}}}, "search example.org\nnameserver 10.0.2.3\n"},
	{
		"merged without repetition, three servers at most",
		[]Source{
			{Servers: addrs("10.0.0.1", "10.0.0.2"), Search: []string{"a.example"}},
			{Servers: addrs("10.0.0.2", "10.0.0.3", "10.0.0.4"), Search: []string{"A.example", "b.example"}},
		},
		"search a.example b.example\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n",
	},
	{
		"the third place is for the other family",
		[]Source{{Servers: addrs("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")}, {Servers: addrs("2001:db8::1", "2001:db8::2")}},
		"nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 2001:db8::1\n",
	},
	{
		"also if IPv6 is first",
		[]Source{{Servers: addrs("2001:db8::1", "2001:db8::2", "2001:db8::3")}, {Servers: addrs("10.0.0.1")}},
		"nameserver 2001:db8::1\nnameserver 2001:db8::2\nnameserver 10.0.0.1\n",
	},
	{
		"both families are among the first three",
		[]Source{{Servers: addrs("10.0.0.1")}, {Servers: addrs("2001:db8::1", "2001:db8::2")}, {Servers: addrs("10.0.0.2")}},
		"nameserver 10.0.0.1\nnameserver 2001:db8::1\nnameserver 2001:db8::2\n",
	},
	{
		"three that a user wrote stay",
		[]Source{{Servers: addrs("10.0.0.1", "10.0.0.2", "10.0.0.3"), Static: true}, {Servers: addrs("2001:db8::1")}},
		"nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n",
	},
	{
		"two that a user wrote leave a place",
		[]Source{{Servers: addrs("10.0.0.1", "10.0.0.2"), Static: true}, {Servers: addrs("10.0.0.2", "10.0.0.3")}, {Servers: addrs("2001:db8::1")}},
		"nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 2001:db8::1\n",
	},
	{
		"servers of one link come last",
		[]Source{{Servers: addrs("fe80::1%eth0", "fe80::2%eth0")}, {Servers: addrs("2001:db8::1", "10.0.0.1")}},
		"nameserver 2001:db8::1\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\n",
	},
	{
		"but not if a user wrote them",
		[]Source{{Servers: addrs("fe80::1%eth0"), Static: true}, {Servers: addrs("10.0.0.1")}},
		"nameserver fe80::1%eth0\nnameserver 10.0.0.1\n",
	},
	{
		"a long domain is left out, a short one fits",
		[]Source{{Search: []string{strings.Repeat("a", 1700), strings.Repeat("b", 200), "c.example"}}},
		"search " + strings.Repeat("a", 1700) + " c.example\n",
	},
	{"a server of one link", []Source{{Servers: addrs("fe80::1%eth0")}}, "nameserver fe80::1%eth0\n"},
}

func TestRender(t *testing.T) {
	for _, tc := range files {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(Marker+"\n"+tc.want, string(Render(tc.sources))); diff != "" {
				t.Errorf("Render, want -, got +:\n%s", diff)
			}
		})
	}
}

func TestIsOurs(t *testing.T) {
	for text, want := range map[string]bool{
		string(Render(nil)): true,
		"# Written by kiOS. No name servers are known yet.\n": true,
		"nameserver 192.0.2.1\n":                              false,
		"# mine\n" + Marker + "\n":                            false,
		"":                                                    false,
	} {
		if got := IsOurs([]byte(text)); got != want {
			t.Errorf("IsOurs(%q) = %v, want %v", text, got, want)
		}
	}
}
