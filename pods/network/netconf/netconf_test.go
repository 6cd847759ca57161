package netconf

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const path = "/etc/kios/network.yaml"

var comparable = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// wholeFormat has each field, and wholeConfig is what it means.
const wholeFormat = `
# the whole format
unlisted: first
interfaces:
  eth0:
    addresses: [192.0.2.10/24, 2001:db8::10/64]
    routes:
      - {to: default, via: 192.0.2.1}
      - {to: default, via: fe80::1, metric: 10}
      - {to: 10.0.0.0/8, via: 192.0.2.2}
      - {to: 198.51.100.7}
    mtu: 9000
    dns: [192.0.2.53, "fe80::53%eth0"]
    search: [lab.example.]
    ntp: [192.0.2.123, ntp.example]
  uplink:
    mac: 52-54-00-12-34-56
    dhcp4: false
    ra: false
    sourceRouting: false
  bond0:
    bond: {members: [uplink, eth2], mode: 802.3ad, miimon: 50, lacpRate: fast, xmitHash: layer3+4}
    addresses: [198.51.100.1/24]
    dhcp4: true
  bond1:
    bond: {members: [eth3]}
  bond2:
    bond: {members: [eth5, eth6], mac: "52-54-00-AA-00-01", primary: eth6, arpInterval: 200, arpTargets: [192.0.2.1]}
  storage:
    vlan: {id: 100, parent: bond0}
  eth4:
  nics:
    match: {driver: ena, device: "0000:0?:*"}
    metric: 2000
    ignore: [default-route, dns]
  pool:
    match: {mac: "52-54-00-*"}
    manage: false
`

var wholeConfig = &Config{Unlisted: First, patterns: []string{"nics", "pool"}, Interfaces: map[string]*Interface{
	"eth0": {
		Addresses: []netip.Prefix{prefix("192.0.2.10/24"), prefix("2001:db8::10/64")},
		Routes: []Route{
			{To: prefix("0.0.0.0/0"), Via: addr("192.0.2.1")},
			{To: prefix("::/0"), Via: addr("fe80::1"), Metric: 10},
			{To: prefix("10.0.0.0/8"), Via: addr("192.0.2.2")},
			{To: prefix("198.51.100.7/32")},
		},
		MTU:           9000,
		DNS:           []netip.Addr{addr("192.0.2.53"), addr("fe80::53%eth0")},
		Search:        []string{"lab.example"},
		NTP:           []string{"192.0.2.123", "ntp.example"},
		RA:            true,
		SourceRouting: true,
	},
	"uplink": {MAC: "52:54:00:12:34:56", DHCP6: true},
	"bond0": {
		Addresses:     []netip.Prefix{prefix("198.51.100.1/24")},
		DHCP4:         true,
		RA:            true,
		SourceRouting: true,
		Bond:          &Bond{Members: []string{"uplink", "eth2"}, Mode: "802.3ad", Miimon: 50, LACPRate: "fast", XmitHash: "layer3+4"},
	},
	"bond1": {DHCP4: true, DHCP6: true, RA: true, SourceRouting: true, Bond: &Bond{Members: []string{"eth3"}, Mode: "active-backup", Miimon: 100}},
	"bond2": {DHCP4: true, DHCP6: true, RA: true, SourceRouting: true, Bond: &Bond{
		Members: []string{"eth5", "eth6"}, MAC: "52:54:00:aa:00:01", Mode: "active-backup", Primary: "eth6",
		ARPInterval: 200, ARPTargets: []netip.Addr{addr("192.0.2.1")},
	}},
	"storage": {DHCP4: true, DHCP6: true, RA: true, SourceRouting: true, VLAN: &VLAN{ID: 100, Parent: "bond0"}},
	"eth4":    Default(),
	"nics": {
		Match: &Match{Driver: "ena", Device: "0000:0?:*"}, Metric: 2000, Ignore: []Part{DefaultRoute, DNS},
		DHCP4: true, DHCP6: true, RA: true, SourceRouting: true,
	},
	"pool": {Match: &Match{MAC: "52:54:00:*"}, Unmanaged: true, DHCP4: true, DHCP6: true, RA: true, SourceRouting: true},
}}

func TestParse(t *testing.T) {
	got, errs := Parse(path, []byte(wholeFormat))
	if errs != nil {
		t.Fatalf("Parse: %v", errs)
	}
	if diff := cmp.Diff(wholeConfig, got, comparable, cmp.AllowUnexported(Config{})); diff != "" {
		t.Errorf("Parse, want -, got +:\n%s", diff)
	}
}

// mistakes are entries with one mistake, beside goodEntry, and a part of its
// message.
var mistakes = []struct{ text, want string }{
	{"x: {adresses: []}", `interfaces.x: there is no field "adresses"`},
	{"x: {addresses: 192.0.2.1/24}", "interfaces.x: the field addresses is a string, but must be a list"},
	{"x: [192.0.2.1/24]", "interfaces.x: the whole is an array"},
	{"x: {mtu: big}", "interfaces.x: the field mtu is a string, but must be a whole number"},
	{"x: {dhcp4: 5}", "interfaces.x: the field dhcp4 is a number, but must be true or false"},
	{"x: {addresses: [192.0.2.1]}", `interfaces.x.addresses[0]: "192.0.2.1" has no prefix length; it looks like`},
	{"x: {addresses: [192.0.2.9/24, nonsense]}", `interfaces.x.addresses[1]: "nonsense" is no address`},
	{`x: {addresses: ["a\nb"]}`, `interfaces.x.addresses[0]: "a\nb" is no address`},
	{"x: {addresses: ['::ffff:192.0.2.1/120']}", "is no address with a prefix length"},
	{"x: {addresses: ['fe80::1%eth0/64']}", "is no address with a prefix length"},
	{"x: {addresses: [192.0.2.0/24]}", "interfaces.x.addresses[0]: 192.0.2.0/24 is the subnet's own address"},
	{"x: {addresses: [192.0.2.255/24]}", "or its broadcast address"},
	{"x: {addresses: [127.0.0.1/8]}", "127.0.0.1 is no address for a host"},
	{"x: {addresses: ['ff02::1/64']}", "ff02::1 is no address for a host"},
	{"x: {addresses: [192.0.2.1/0]}", "has a prefix length of 0"},
	{"x: {addresses: [192.0.2.1/24, 192.0.2.1/24]}", "interfaces.x.addresses[1]: 192.0.2.1/24 is there twice"},
	{"x: {addresses: [198.51.100.1/24]}", "interfaces.x.addresses[0]: 198.51.100.1 is already in the entry good"},
	{"x: {routes: [{via: 192.0.2.1}]}", "interfaces.x.routes[0].to: it is missing"},
	{"x: {routes: [{to: default}]}", `interfaces.x.routes[0].via: it is missing: "default" needs a gateway`},
	{"x: {routes: [{to: 10.0.0.1/8, via: 192.0.2.1}]}", "interfaces.x.routes[0].to: 10.0.0.1/8 has bits beyond its prefix length; the subnet is 10.0.0.0/8"},
	{"x: {routes: [{to: ten, via: 192.0.2.1}]}", `interfaces.x.routes[0].to: "ten" is no subnet`},
	{"x: {routes: [{to: 10.0.0.0/8, via: 'fe80::1'}]}", "interfaces.x.routes[0].via: fe80::1 and 10.0.0.0/8 are not of the same family"},
	{"x: {routes: [{to: default, via: gateway}]}", `interfaces.x.routes[0].via: "gateway" is no address of a gateway`},
	{"x: {routes: [{to: default, via: 192.0.2.1, metric: -1}]}", "interfaces.x.routes[0].metric: -1 is not between 1 and"},
	{"x: {routes: [{to: default, via: 192.0.2.1}, {to: 0.0.0.0/0, via: 192.0.2.2}]}", "interfaces.x.routes[1]: there are two routes to 0.0.0.0/0"},
	{"x: {routes: [{to: 10.1.0.0/16, via: 192.0.2.1, metric: 7}]}", "interfaces.x.routes[0]: a route to 10.1.0.0/16 with metric 7 is already in the entry good"},
	{"x: {addresses: [192.0.2.1/24], routes: [{to: default, via: 192.0.2.1}]}", "interfaces.x.routes[0].via: 192.0.2.1 is the interface's own address"},
	{"x: {routes: [{to: default, gateway: 192.0.2.1}]}", `interfaces.x: there is no field "gateway"`},
	{"x: {mtu: 100}", "interfaces.x.mtu: 100 is not between 576 and 65535"},
	{"x: {mtu: 1000, addresses: ['2001:db8::1/64']}", "interfaces.x.mtu: 1000 is too small for IPv6"},
	{"x: {dns: [dns.example]}", `interfaces.x.dns[0]: "dns.example" is no address of a server`},
	{`x: {dns: ["fe80::1%a b"]}`, "is no address of a server"},
	{"x: {dns: ['fe80::1']}", "interfaces.x.dns[0]: fe80::1 is valid on one link only; name that, as in fe80::1%eth0"},
	{"x: {search: ['a b']}", `interfaces.x.search[0]: "a b" is no domain`},
	{"x: {ntp: ['-;']}", `interfaces.x.ntp[0]: "-;" is neither an address nor a name`},
	{"x: {mac: 'zz'}", `interfaces.x.mac: "zz" is no Ethernet address`},
	{"x: {mac: '52:54:00:00:00:01'}", "interfaces.x.mac: 52:54:00:00:00:01 is already in the entry good"},
	{"x: {metric: -1}", "interfaces.x.metric: -1 is not between 1 and"},
	{"x: {ignore: [all]}", `interfaces.x.ignore[0]: "all" is none of default-route, routes, dns,`},
	{"x: {match: {}}", "interfaces.x.match: it is empty"},
	{"x: {match: {driver: 'en['}}", `interfaces.x.match.driver: "en[" is no pattern`},
	{"x: {match: {mac: 'zz'}}", `interfaces.x.match.mac: "zz" is no Ethernet address`},
	{"x: {match: {name: eth0}}", `interfaces.x: there is no field "name"`},
	{"x: {match: {driver: ena}, addresses: [192.0.2.1/24]}", "interfaces.x.addresses: several interfaces may fit"},
	{"x: {match: {driver: ena}, mac: '52:54:00:00:00:02'}", "interfaces.x.match: it is found by its field mac already"},
	{"x: {manage: false, mtu: 1400}", "interfaces.x.manage: with false, nothing else can be set"},
	{"x: {manage: false, vlan: {id: 5, parent: a}}", "interfaces.x.manage: a VLAN or a bond of this file is made here"},
	{"w: {bond: {members: [x]}}\n  x: {manage: false}", "interfaces.x.manage: it is a member of w"},
	{"x: {mtu: 1500, mtu: 1400}", `"mtu" is there twice; the last one counts`},
	{"x: {}\n  x: {mtu: 1400}", `"x" is there twice; the last one counts`},
	{"x: {ra: false, dhcp6: true}", "interfaces.x.dhcp6: without router advertisements"},
	{"interface-0123456789: {mtu: 1500}", `interfaces.interface-0123456789: "interface-0123456789" cannot be the name of an interface`},
	{"'a/b': {mtu: 1500}", "cannot be the name of an interface"},
	{"x: {vlan: {id: 0, parent: good}}", "interfaces.x.vlan.id: 0 is not between 1 and 4094"},
	{"x: {vlan: {id: 4095, parent: good}}", "interfaces.x.vlan.id: 4095 is not between 1 and 4094"},
	{"x: {vlan: {id: 5}}", "interfaces.x.vlan.parent: it is missing"},
	{"x: {vlan: {id: 5, parent: x}}", "interfaces.x.vlan.parent: the VLAN would be its own parent"},
	{"x: {vlan: {id: 5, parent: z}}\n  z: {vlan: {id: 6, parent: x}}", "interfaces.x.vlan.parent: the VLAN would be its own parent"},
	{"w: {vlan: {id: 5, parent: good}}\n  x: {vlan: {id: 5, parent: good}}", "interfaces.x.vlan: VLAN 5 of good is already in the entry w"},
	{"x: {vlan: {id: 5, on: good}}", `interfaces.x: there is no field "`},
	{"x: {vlan: {id: 5, parent: a}, bond: {members: [b]}}", "interfaces.x: it is a VLAN and a bond"},
	{"x: {mac: '52:54:00:00:00:02', vlan: {id: 5, parent: good}}", "interfaces.x.mac: a VLAN or a bond is not found by its address"},
	{"x: {bond: {}}", "interfaces.x.bond.members: it is missing"},
	{"x: {bond: {members: [a, a]}}", "interfaces.x.bond.members[1]: a is there twice"},
	{"x: {bond: {members: [a], mode: lacp}}", `interfaces.x.bond.mode: "lacp" is none of balance-rr, active-backup,`},
	{"x: {bond: {members: [a], miimon: 0}}", "interfaces.x.bond.miimon: 0 is not between 1 and 60000"},
	{"x: {bond: {members: [a], lacpRate: fast}}", "interfaces.x.bond.lacpRate: it belongs to mode 802.3ad only"},
	{"x: {bond: {members: [a], mode: 802.3ad, lacpRate: quick}}", `interfaces.x.bond.lacpRate: "quick" is none of slow, fast`},
	{"x: {bond: {members: [a], xmitHash: layer2}}", "interfaces.x.bond.xmitHash: it belongs to the modes"},
	{"x: {bond: {members: [a], mac: zz}}", `interfaces.x.bond.mac: "zz" is no Ethernet address`},
	{"x: {bond: {members: [a], primary: b}}", `interfaces.x.bond.primary: "b" is no member`},
	{"x: {bond: {members: [a], primary: a, mode: 802.3ad}}", "interfaces.x.bond.primary: it belongs to the modes active-backup"},
	{"x: {bond: {members: [a], minLinks: 1}}", "interfaces.x.bond.minLinks: it belongs to mode 802.3ad"},
	{"x: {bond: {members: [a], minLinks: 2, mode: 802.3ad}}", "interfaces.x.bond.minLinks: 2 is more than the bond has members"},
	{"x: {bond: {members: [a], minLinks: -1, mode: 802.3ad}}", "interfaces.x.bond.minLinks: -1 is below 0"},
	{"x: {bond: {members: [a], upDelay: 150}}", "interfaces.x.bond.upDelay: 150 is no multiple of miimon, which is 100"},
	{"x: {bond: {members: [a], downDelay: -1}}", "interfaces.x.bond.downDelay: -1 is not between 0 and"},
	{"x: {bond: {members: [a], arpInterval: 100}}", "interfaces.x.bond.arpTargets: arpInterval needs 1 to 16 addresses"},
	{"x: {bond: {members: [a], arpTargets: [192.0.2.1]}}", "interfaces.x.bond.arpTargets: nobody asks them"},
	{"x: {bond: {members: [a], arpInterval: 100, arpTargets: ['::1']}}", `interfaces.x.bond.arpTargets[0]: "::1" is no IPv4 address`},
	{"x: {bond: {members: [a], arpInterval: 100, arpTargets: [192.0.2.1], miimon: 50}}", "interfaces.x.bond.arpInterval: it takes the place of miimon"},
	{"x: {bond: {members: [a], arpInterval: 100, arpTargets: [192.0.2.1], mode: 802.3ad}}", "interfaces.x.bond.arpInterval: mode 802.3ad works with miimon only"},
	{"w: {bond: {members: [a]}}\n  x: {bond: {members: [a]}}", "interfaces.x.bond.members[0]: a is already a member of w"},
	{"w: {bond: {members: [a]}}\n  x: {bond: {members: [w]}}", "interfaces.x.bond.members[0]: w is no physical interface"},
	{"w: {bond: {members: [x]}}\n  x: {addresses: [192.0.2.1/24]}", "interfaces.x: it is a member of w and cannot have addresses"},
	{"w: {bond: {members: [a]}}\n  x: {vlan: {id: 5, parent: a}}", "interfaces.x.vlan.parent: a is a member of w; put the VLAN on w"},
}

const goodEntry = "  good: {addresses: [198.51.100.1/24], routes: [{to: 10.1.0.0/16, via: 198.51.100.2, metric: 7}], mac: '52:54:00:00:00:01'}\n"

// Each mistake costs its own entry only, and its message is one line that names
// the field.
func TestParseMistakes(t *testing.T) {
	for _, tc := range mistakes {
		c, errs := Parse(path, []byte("interfaces:\n"+goodEntry+"  "+tc.text+"\n"))
		if len(errs) == 0 || !strings.HasPrefix(errs[0].Error(), path+": ") || !strings.Contains(errs[0].Error(), tc.want) {
			t.Errorf("Parse(%s) = %v, want %q", tc.text, errs, tc.want)
			continue
		}
		for _, err := range errs {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("Parse(%s) = %q, want one line", tc.text, err)
			}
		}
		if c == nil || c.Interfaces["good"] == nil || len(c.Interfaces["good"].Addresses) != 1 {
			t.Errorf("Parse(%s) lost the good entry", tc.text)
		}
	}
}

func TestParseNonsense(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"interfaces: [", "line 1"},
		{"- eth0\n", "the whole is an array, but must be a map"},
		{"interfaces: [eth0]\n", path + ": interfaces: the whole is an array, but must be a map"},
		{"\x00\x01", "binary data"},
	} {
		c, errs := Parse(path, []byte(tc.text))
		if c != nil || len(errs) != 1 || !strings.Contains(errs[0].Error(), tc.want) {
			t.Errorf("Parse(%q) = %v, %v, want %q", tc.text, c, errs, tc.want)
		}
	}
	for _, text := range []string{"", "# nothing\n", "interfaces:\n", "interfaces: {}\n"} {
		if c, errs := Parse(path, []byte(text)); c == nil || len(c.Interfaces) > 0 || errs != nil {
			t.Errorf("Parse(%q) = %v, %v, want an empty configuration", text, c, errs)
		}
	}
	c, errs := Parse(path, []byte("interface: {}\ninterfaces: {eth0: {mtu: 1400}}\n"))
	if c == nil || c.Interfaces["eth0"] == nil || len(errs) != 1 || !strings.Contains(errs[0].Error(), `there is no field "interface"`) {
		t.Errorf("Parse with a mistake at the top = %v, %v", c, errs)
	}
}

// settled leaves out whether addresses are in doubt.
var settled = cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Doubtful" }, cmp.Ignore())

// A typing mistake does not take away the addresses and routes of before; a change of
// what is right counts.
func TestKeepFrom(t *testing.T) {
	const before = "interfaces:\n  x: {addresses: [192.0.2.10/24, 192.0.2.11/24], routes: [{to: default, via: 192.0.2.1}]}\n  y: {}\n"
	last, _ := Parse(path, []byte(before))
	for text, want := range map[string]string{
		"x: {addresses: [192.0.2.100], routes: [{to: default, via: 192.0.2.1}]}": "192.0.2.10/24 192.0.2.11/24 via 192.0.2.1",
		"x: {addresses: [192.0.2.12/24, no]}":                                    "192.0.2.12/24 192.0.2.10/24 192.0.2.11/24 via 192.0.2.1",
		"x: {adresses: [192.0.2.10/24]}":                                         "192.0.2.10/24 192.0.2.11/24 via 192.0.2.1",
		"x: {addresses: 192.0.2.10/24}":                                          "192.0.2.10/24 192.0.2.11/24 via 192.0.2.1",
		"x: 192.0.2.10/24":                                                       "192.0.2.10/24 192.0.2.11/24 via 192.0.2.1",
		"x: {addresses: [192.0.2.12/24], mtu: 1}":                                "192.0.2.12/24",
		"x: {addresses: [192.0.2.12/24]}":                                        "192.0.2.12/24",
		"x: {addresses: [no]}\n  y: {addresses: [192.0.2.10/24]}":                "192.0.2.11/24 via 192.0.2.1",
		"x: {mac: '52:54:00:00:00:02', addresses: [no]}":                         "",
	} {
		c, _ := Parse(path, []byte("interfaces:\n  "+text+"\n"))
		c.KeepFrom(last)
		var got []string
		for _, a := range c.Interfaces["x"].Addresses {
			got = append(got, a.String())
		}
		for _, r := range c.Interfaces["x"].Routes {
			got = append(got, "via "+r.Via.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// A mistake elsewhere in its entry leaves a bond or a VLAN with DHCP; one in the
// part that makes it leaves nothing.
func TestFallback(t *testing.T) {
	for _, tc := range []struct {
		text string
		want *Interface
	}{
		{"x: {mtu: 1}", Default()},
		{"x: {mtv: 1}", Default()},
		{"x: {mac: '52:54:00:00:00:02', mtu: 1}", &Interface{MAC: "52:54:00:00:00:02", DHCP4: true, DHCP6: true, RA: true, SourceRouting: true}},
		{"x: {mac: '52:54:00:00:00:02', mtv: 1, dhcp4: false}", &Interface{MAC: "52:54:00:00:00:02", DHCP4: true, DHCP6: true, RA: true, SourceRouting: true}},
		{"x: {mac: nonsense, mtu: 1500}", nil},
		{"x: {match: {driver: a}, mtv: 1}", &Interface{Match: &Match{Driver: "a"}, DHCP4: true, DHCP6: true, RA: true, SourceRouting: true}},
		{"x: {match: {drivr: a}}", nil},
		{"x: {manage: false, mtv: 1}", &Interface{Unmanaged: true, DHCP4: true, DHCP6: true, RA: true, SourceRouting: true}},
		{"x: {vlan: {id: 5, parent: a}, mtu: 1}", &Interface{VLAN: &VLAN{5, "a"}, DHCP4: true, DHCP6: true, RA: true, SourceRouting: true}},
		{"x: {vlan: {id: 5, parent: a}, adress: 1}", &Interface{VLAN: &VLAN{5, "a"}, DHCP4: true, DHCP6: true, RA: true, SourceRouting: true}},
		{"x: {vlan: {id: 5, parent: a}, mac: '52:54:00:00:00:02'}", &Interface{VLAN: &VLAN{5, "a"}, DHCP4: true, DHCP6: true, RA: true, SourceRouting: true}},
		{"x: {vlan: {id: 5}, mtu: 1500}", nil},
		{"x: {bond: {members: [a], mode: active-backup}, addresses: [no]}", &Interface{Bond: &Bond{Members: []string{"a"}, Mode: "active-backup", Miimon: 100}, DHCP4: true, DHCP6: true, RA: true, SourceRouting: true}},
		{"x: {bond: {members: [a], mode: no}}", nil},
	} {
		c, errs := Parse(path, []byte("interfaces:\n  "+tc.text+"\n"))
		if len(errs) == 0 {
			t.Errorf("Parse(%s) finds no mistake", tc.text)
		}
		if diff := cmp.Diff(tc.want, c.Interfaces["x"], comparable, settled); diff != "" {
			t.Errorf("Parse(%s), want -, got +:\n%s", tc.text, diff)
		}
	}
}

// A server with a fixed address keeps it whatever else is wrong in its entry, and the
// rest of what is right; and DHCP is a second way in.
func TestMistakeCostsItself(t *testing.T) {
	right := func() *Interface {
		return &Interface{
			Addresses: []netip.Prefix{prefix("192.0.2.10/24")}, Routes: []Route{{To: prefix("0.0.0.0/0"), Via: addr("192.0.2.1")}},
			DNS: []netip.Addr{addr("192.0.2.53")}, MTU: 1400, DHCP4: true, DHCP6: true, RA: true, SourceRouting: true,
		}
	}
	const start = "interfaces:\n  x:\n    addresses: [192.0.2.10/24, %s]\n    routes: [{to: default, via: 192.0.2.1}%s]\n    dns: [192.0.2.53]\n    mtu: 1400\n    %s\n"
	for _, tc := range []struct{ address, route, field string }{
		{"192.0.2.11", "", ""},
		{"", ", {to: ten, via: 192.0.2.1}", ""},
		{"", ", {to: 10.0.0.0/8, via: here}", ""},
		{"", "", "search: ['a b']"},
		{"", "", "ntp: 5"},
		{"", "", "adresses: []"},
		{"", "", "metric: -1"},
		{"", "", "ignore: [some]"},
	} {
		c, errs := Parse(path, fmt.Appendf(nil, start, tc.address, tc.route, tc.field))
		if len(errs) != 1 {
			t.Errorf("%v: %v, want one mistake", tc, errs)
		}
		if want := tc.address+tc.route != "" || strings.HasPrefix(tc.field, "adresses"); c.Interfaces["x"].Doubtful != want {
			t.Errorf("%v: the addresses are in doubt: %v", tc, !want)
		}
		if diff := cmp.Diff(right(), c.Interfaces["x"], comparable, settled); diff != "" {
			t.Errorf("%v, want -, got +:\n%s", tc, diff)
		}
	}
	// Between entries, too: the second one has the address of the first.
	c, errs := Parse(path, []byte("interfaces:\n  a: {addresses: [192.0.2.10/24]}\n  x: {addresses: [192.0.2.10/24, 198.51.100.1/24], mtu: 1400}\n"))
	if x := c.Interfaces["x"]; len(errs) != 1 || len(x.Addresses) != 1 || x.MTU != 1400 || !x.DHCP4 {
		t.Errorf("%+v, %v", x, errs)
	}
}

func TestFind(t *testing.T) {
	c, errs := Parse(path, []byte("interfaces:\n  eth0: {mtu: 1400}\n  uplink: {mac: '52:54:00:00:00:01'}\n  b: {bond: {members: [uplink, eth3]}}\n  v: {vlan: {id: 1, parent: eth0}}\n"))
	if errs != nil {
		t.Fatal(errs)
	}
	for _, tc := range []struct {
		name, mac, key string
		found          bool
		bond           string
	}{
		{"eth0", "52:54:00:00:00:09", "eth0", true, ""},
		{"eth0", "52:54:00:00:00:01", "uplink", true, "b"}, // the address is the more exact
		{"eth1", "52:54:00:00:00:01", "uplink", true, "b"},
		{"uplink", "52:54:00:00:00:09", "uplink", false, ""}, // it only has the name of the entry for another one
		{"eth3", "", "eth3", false, "b"},
		{"eth2", "", "eth2", false, ""},
	} {
		id := ID{Name: tc.name, MAC: tc.mac}
		key, i := c.Find(id)
		if key != tc.key || (i != nil) != tc.found {
			t.Errorf("Find(%s, %s) = %s, %v, want %s, %v", tc.name, tc.mac, key, i, tc.key, tc.found)
		}
		if bond := c.BondOf(c.Names(id)...); bond != tc.bond {
			t.Errorf("BondOf(%v) = %q, want %q", c.Names(id), bond, tc.bond)
		}
	}
	if got := c.VLANsOn("eth0"); len(got) != 1 || got[0] != "v" {
		t.Errorf("VLANsOn(eth0) = %v, want v", got)
	}
}

// A member that several interfaces can fit counts for as many as there are.
func TestMinLinksOfAPattern(t *testing.T) {
	c, errs := Parse(path, []byte("interfaces:\n  fast: {match: {driver: mlx5_core}}\n  b: {bond: {members: [fast], mode: 802.3ad, minLinks: 2}}\n"))
	if b := c.Interfaces["b"]; errs != nil || b == nil || b.Bond.MinLinks != 2 {
		t.Errorf("Parse = %+v, %v", b, errs)
	}
}

func TestFindByPattern(t *testing.T) {
	c, errs := Parse(path, []byte(`interfaces:
  a: {match: {driver: "mlx*", device: "0000:8*"}}
  b: {match: {driver: mlx5_core}}
  c: {match: {mac: "52:54:00:*"}}
  eth1: {}
`))
	if errs != nil || !c.HasPatterns() {
		t.Fatal(errs, c)
	}
	for _, tc := range []struct {
		id   ID
		want string
	}{
		{ID{"eth0", "02:00:00:00:00:01", "mlx5_core", "0000:81:00.0"}, "a"},
		{ID{"eth0", "52:54:00:00:00:01", "mlx5_core", "0000:01:00.0"}, "b"}, // the first by key
		{ID{"eth0", "52:54:00:00:00:01", "virtio_net", "0000:01:00.0"}, "c"},
		{ID{"eth1", "52:54:00:00:00:01", "mlx5_core", "0000:81:00.0"}, "eth1"}, // the name is more exact
		{ID{"eth0", "", "", ""}, ""},
	} {
		if key, i := c.Find(tc.id); (i != nil) != (tc.want != "") || i != nil && key != tc.want {
			t.Errorf("Find(%v) = %s, %v, want %q", tc.id, key, i, tc.want)
		}
	}
}

// A mistake in the policy must not shut the way in, nor one elsewhere together with
// it.
func TestUnlisted(t *testing.T) {
	for _, tc := range []struct {
		text string
		want Unlisted
		errs int
	}{
		{"", Present, 0},
		{"unlisted: none\ninterfaces: {eth0: {}}\n", None, 0},
		{"unlisted: some\n", Present, 1},
		{"unlisted: [all]\n", Present, 1},
		{"unlisted: none\ninterfaces: {x: {mac: zz}}\n", Present, 2},
		{"unlisted: none\ninterfaces: {x: {mtu: 1}}\n", None, 1}, // x has DHCP
	} {
		c, errs := Parse(path, []byte(tc.text))
		if c == nil || c.Unlisted != tc.want || len(errs) != tc.errs {
			t.Errorf("Parse(%q) = %v, %v, want %s and %d errors", tc.text, c, errs, tc.want, tc.errs)
		}
	}
}

// FuzzParse holds that whatever the file has, what comes out of it is right.
func FuzzParse(f *testing.F) {
	f.Add([]byte("interfaces:\n  eth0: {addresses: [192.0.2.1/24], routes: [{to: default, via: 192.0.2.2}], dns: [192.0.2.3]}\n"))
	f.Add([]byte("interfaces:\n  bond0: {bond: {members: [a, b], mode: 802.3ad}}\n  v: {vlan: {id: 1, parent: bond0}, ntp: [x]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, errs := Parse(path, text)
		if c == nil && len(errs) == 0 {
			t.Fatal("neither a configuration nor an error")
		}
		for _, err := range errs {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("%q is more than one line", err)
			}
		}
		if c == nil {
			return
		}
		for key, i := range c.Interfaces {
			k := &checker{}
			if i.named() && !isName(key) || i.VLAN != nil && i.VLAN.Parent == key {
				t.Errorf("entry %q", key)
			}
			for _, p := range i.Addresses {
				k.address("", p.String())
			}
			for _, r := range i.Routes {
				if !r.To.IsValid() || r.To != r.To.Masked() {
					t.Errorf("route to %s", r.To)
				}
			}
			if len(k.errs) > 0 {
				t.Errorf("%s: %v", key, k.errs)
			}
		}
	})
}
