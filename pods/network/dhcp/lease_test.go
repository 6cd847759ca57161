package dhcp

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"

	"kios/pods/network/dnsname"
	"kios/pods/network/lease"
	"kios/test/lab"
)

func option(code uint8, value ...byte) dhcpv4.Option {
	return dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), value)
}

func ack(options ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	return reply(dhcpv4.TransactionID{}, dhcpv4.MessageTypeAck, options...)
}

// leaseCases are options and what they bring beside the address, the server and
// the times of ack.
var leaseCases = []struct {
	name    string
	options []dhcpv4.Option
	want    Lease
	fault   string // "" for none
}{
	{"bare", nil, Lease{}, ""},
	{"router", []dhcpv4.Option{option(3, 10, 0, 2, 2, 10, 0, 2, 3)}, Lease{Routes: []Route{{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.2.2")}}}, ""},
	{"unusable router", []dhcpv4.Option{option(3, 0, 0, 0, 0)}, Lease{}, "4 of 4 bytes with router servers are left out"},
	{
		"classless routes win over the router",
		[]dhcpv4.Option{option(3, 10, 0, 2, 9), option(121, 0, 10, 0, 2, 2, 16, 172, 16, 0, 0, 0, 0, 32, 169, 254, 169, 254, 10, 0, 2, 3)},
		Lease{Routes: []Route{
			{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.2.2")},
			{To: netip.MustParsePrefix("172.16.0.0/16")},
			{netip.MustParsePrefix("169.254.169.254/32"), netip.MustParseAddr("10.0.2.3")},
		}},
		"",
	},
	{
		"names",
		[]dhcpv4.Option{option(6, 10, 0, 2, 3, 0, 0, 0, 0, 8, 8, 8, 8), option(15, []byte("lab.example\x00")...)},
		Lease{DNS: []netip.Addr{netip.MustParseAddr("10.0.2.3"), netip.MustParseAddr("8.8.8.8")}, Search: []string{"lab.example"}},
		"4 of 12 bytes with DNS servers are left out",
	},
	{
		"search list wins over domain",
		[]dhcpv4.Option{option(15, []byte("lab.example")...), option(119, []byte("\x01a\x07example\x00\x01b\xc0\x02")...)},
		Lease{Search: []string{"a.example", "b.example"}},
		"",
	},
	{
		"search list with references to references",
		[]dhcpv4.Option{option(119, []byte("\x03lab\x07example\x00\x03eng\xc0\x00\x01x\xc0\x0d")...)},
		Lease{Search: []string{"lab.example", "eng.lab.example", "x.eng.lab.example"}},
		"",
	},
	{
		"search list with a mistake",
		[]dhcpv4.Option{option(15, []byte("lab.example")...), option(119, []byte("\x01a\x00\x01b\xc0\x03")...)},
		Lease{Search: []string{"a"}},
		"its search list is read up to a mistake: the name refers to something that is not before it",
	},
	{
		"search list of nothing but a mistake",
		[]dhcpv4.Option{option(15, []byte("lab.example")...), option(119, 9)},
		Lease{Search: []string{"lab.example"}},
		"its search list is read up to a mistake",
	},
	{"line break in a domain", []dhcpv4.Option{option(15, []byte("x\nnameserver\t6.6.6.6")...)}, Lease{Search: []string{"x", "nameserver", "6.6.6.6"}}, ""},
	{"domain with control bytes", []dhcpv4.Option{option(15, []byte("x\x07y")...)}, Lease{}, "1 of its domains are left out"},
	{"NTP", []dhcpv4.Option{option(42, 10, 0, 2, 4, 224, 0, 1, 1)}, Lease{NTP: []netip.Addr{netip.MustParseAddr("10.0.2.4")}}, "4 of 8 bytes with NTP servers"},
	{"hostname", []dhcpv4.Option{option(12, []byte("Node-7\x00")...)}, Lease{Hostname: "node-7"}, ""},
	{"hostname with a domain", []dhcpv4.Option{option(12, []byte("node-7.lab.example.")...)}, Lease{Hostname: "node-7.lab.example"}, ""},
	{"hostname that is none", []dhcpv4.Option{option(12, []byte("node 7\n")...)}, Lease{}, "is left out"},
	{"hostname too long for the kernel", []dhcpv4.Option{option(12, []byte(strings.Repeat("a", 60)+".example")...)},
		Lease{Hostname: strings.Repeat("a", 60)}, "is changed to aaa"},
	{"hostname with underscores", []dhcpv4.Option{option(12, []byte("rack_7_node")...)}, Lease{Hostname: "rack-7-node"},
		`its host name "rack_7_node" is changed to rack-7-node`},
	{"FQDN in place of a hostname that is none", []dhcpv4.Option{option(12, []byte("node 7")...), option(81, 0, 0, 0, 'b')},
		Lease{Hostname: "b"}, "is left out"},
	{"private DNS name of EC2", []dhcpv4.Option{option(12, []byte("ip-10-0-2-15")...), option(15, []byte("eu-west-1.compute.internal")...)},
		Lease{Hostname: "ip-10-0-2-15.eu-west-1.compute.internal", Search: []string{"eu-west-1.compute.internal"}}, ""},
	{"hostname and another domain", []dhcpv4.Option{option(12, []byte("node-7")...), option(15, []byte("lab.example")...)},
		Lease{Hostname: "node-7", Search: []string{"lab.example"}}, ""},
	{"hostname with hyphens at its edges", []dhcpv4.Option{option(12, []byte("-node-")...)}, Lease{}, "is left out"},
	{"localhost", []dhcpv4.Option{option(12, []byte("localhost.localdomain")...)}, Lease{}, ""},
	{"FQDN as text", []dhcpv4.Option{option(81, append([]byte{0, 0, 0}, "node-7.lab.example"...)...)}, Lease{Hostname: "node-7.lab.example"}, ""},
	{"FQDN, encoded", []dhcpv4.Option{option(81, append([]byte{4, 0, 0}, "\x06node-7\x03lab\x00"...)...)}, Lease{Hostname: "node-7.lab"}, ""},
	{"FQDN, encoded, without an end", []dhcpv4.Option{option(81, append([]byte{4, 0, 0}, "\x06node-7"...)...)}, Lease{Hostname: "node-7"}, ""},
	{"FQDN cut off", []dhcpv4.Option{option(81, append([]byte{4, 0, 0}, "\x06node"...)...)}, Lease{}, ""},
	{"FQDN without a name", []dhcpv4.Option{option(81, 0, 0)}, Lease{}, ""},
	{"hostname wins over FQDN", []dhcpv4.Option{option(12, []byte("a")...), option(81, 0, 0, 0, 'b')}, Lease{Hostname: "a"}, ""},
	{"MTU", []dhcpv4.Option{option(26, 0x05, 0x78)}, Lease{MTU: 1400}, ""},
	{"MTU that would break everything", []dhcpv4.Option{option(26, 0, 68)}, Lease{}, "its MTU is left out"},
	{"MTU of wrong length", []dhcpv4.Option{option(26, 5)}, Lease{}, "its MTU is left out"},
	{"servers without end", []dhcpv4.Option{option(6, slices.Repeat([]byte{10, 0, 2, 3}, 60)...)},
		Lease{DNS: slices.Repeat([]netip.Addr{netip.MustParseAddr("10.0.2.3")}, maxServers)}, "176 of 240 bytes with DNS servers are left out"},
}

func via(to, gateway string) Route {
	r := Route{To: netip.MustParsePrefix(to)}
	if gateway != "" {
		r.Via = netip.MustParseAddr(gateway)
	}
	return r
}

func TestRoutes(t *testing.T) {
	router := option(3, 10, 0, 2, 9)
	byRouter := via("0.0.0.0/0", "10.0.2.9")
	for _, tc := range []struct {
		name    string
		options []dhcpv4.Option
		want    []Route
		fault   string
	}{
		{"with a default route before a mistake", []dhcpv4.Option{router,
			option(121, 24, 10, 9, 0, 10, 77, 0, 1, 0, 10, 77, 0, 1, 255)},
			[]Route{via("10.9.0.0/24", "10.77.0.1"), via("0.0.0.0/0", "10.77.0.1")}, "a mask of 255 bits"},
		{"without one", []dhcpv4.Option{router, option(121, 24, 10, 9, 0, 10, 77, 0, 1, 24, 10)},
			[]Route{via("10.9.0.0/24", "10.77.0.1"), byRouter}, "the last one is cut off"},
		{"nothing but a mistake", []dhcpv4.Option{router, option(121, 40, 10, 0, 0, 0, 0, 10, 0, 2, 2)}, []Route{byRouter}, "a mask of 40 bits"},
		{"a gateway that is none", []dhcpv4.Option{option(121, 8, 10, 224, 0, 0, 1, 0, 10, 77, 0, 1)},
			[]Route{via("0.0.0.0/0", "10.77.0.1")}, "its route to 10.0.0.0/8 is left out"},
		{"bits after the mask", []dhcpv4.Option{option(121, 12, 172, 31, 10, 0, 2, 2)}, []Route{via("172.16.0.0/12", "10.0.2.2")}, ""},
		{"empty", []dhcpv4.Option{router, option(121)}, []Route{byRouter}, ""},
		{"option 249", []dhcpv4.Option{router, option(249, 0, 10, 77, 0, 1)}, []Route{via("0.0.0.0/0", "10.77.0.1")}, ""},
		{"option 249 after 121", []dhcpv4.Option{option(121, 0, 10, 77, 0, 1), option(249, 0, 10, 77, 0, 9)},
			[]Route{via("0.0.0.0/0", "10.77.0.1")}, ""},
		{"option 33", []dhcpv4.Option{router, option(33, 192, 0, 2, 0, 10, 0, 2, 2, 10, 1, 2, 3, 10, 0, 2, 2)},
			[]Route{byRouter, via("192.0.2.0/24", "10.0.2.2"), via("10.1.2.3/32", "10.0.2.2")}, ""},
		{"option 33 with mistakes", []dhcpv4.Option{option(33, 0, 0, 0, 0, 10, 0, 2, 2, 192, 0, 2, 0, 10, 0, 2, 2, 1)},
			[]Route{via("192.0.2.0/24", "10.0.2.2")}, "its static routes end in the middle of one; its static route to 0.0.0.0 via 10.0.2.2 is left out"},
		{"option 33 beside 121", []dhcpv4.Option{option(121, 0, 10, 77, 0, 1), option(33, 192, 0, 2, 0, 10, 0, 2, 2)},
			[]Route{via("0.0.0.0/0", "10.77.0.1")}, ""},
		{"many", []dhcpv4.Option{option(121, slices.Repeat([]byte{0, 10, 77, 0, 1}, 300)...)},
			slices.Repeat([]Route{via("0.0.0.0/0", "10.77.0.1")}, maxRoutes), "there are more than 256"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, faults, err := leaseFrom(ack(tc.options...), true, 0)
			lab.Must(t, err)
			if diff := cmp.Diff(tc.want, l.Routes, compareAddrs); diff != "" {
				t.Errorf("routes, want -, got +:\n%s", diff)
			}
			expectFault(t, faults, tc.fault)
		})
	}
}

var compareAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func expectFault(t *testing.T, faults []string, want string) {
	t.Helper()
	if got := strings.Join(faults, "; "); !strings.Contains(got, want) || (got == "") != (want == "") {
		t.Errorf("faults are %q, want %q", got, want)
	}
}

func TestLeaseFrom(t *testing.T) {
	for _, tc := range leaseCases {
		t.Run(tc.name, func(t *testing.T) {
			got, faults, err := leaseFrom(ack(tc.options...), true, 0)
			if err != nil {
				t.Fatalf("leaseFrom: %v", err)
			}
			tc.want.Address, tc.want.Server = netip.MustParsePrefix("10.0.2.15/24"), netip.MustParseAddr("10.0.2.2")
			tc.want.Times = lease.Times{Renew: 30 * time.Minute, Rebind: 52*time.Minute + 30*time.Second, Expiry: time.Hour}
			if diff := cmp.Diff(&tc.want, got, compareAddrs); diff != "" {
				t.Errorf("leaseFrom, want -, got +:\n%s", diff)
			}
			expectFault(t, faults, tc.fault)
		})
	}
}

func yiaddr(text string, options ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	p := ack(options...)
	p.YourIPAddr = net.ParseIP(text)
	return p
}

func without(p *dhcpv4.DHCPv4, code dhcpv4.OptionCode) *dhcpv4.DHCPv4 {
	p.DeleteOption(code)
	return p
}

func TestLeaseFromRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		p          *dhcpv4.DHCPv4
	}{
		{"zero address", "no address for a host", yiaddr("0.0.0.0")},
		{"loopback", "no address for a host", yiaddr("127.0.0.1")},
		{"multicast", "no address for a host", yiaddr("224.0.0.1")},
		{"broadcast", "no address for a host", yiaddr("255.255.255.255")},
		{"no server", "no server identifier", without(ack(), dhcpv4.OptionServerIdentifier)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if l, _, err := leaseFrom(tc.p, true, 0); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("leaseFrom = %+v, %v, want an error with %q", l, err, tc.want)
			}
		})
	}
}

// What other clients take, and what servers forget.
func TestUnusualAddresses(t *testing.T) {
	slash := func(bits int) dhcpv4.Option { return dhcpv4.OptSubnetMask(net.CIDRMask(bits, 32)) }
	for _, tc := range []struct {
		name, want, fault string
		p                 *dhcpv4.DHCPv4
	}{
		{"one that was reserved", "240.0.2.15/24", "", yiaddr("240.0.2.15")},
		{"the subnet's own address", "10.0.2.0/24", "", yiaddr("10.0.2.0")},
		{"the subnet's broadcast", "10.0.2.255/24", "", yiaddr("10.0.2.255")},
		{"two addresses", "10.0.2.15/31", "", ack(slash(31))},
		{"one address", "10.0.2.15/32", "", ack(slash(32))},
		{"no mask, class A", "10.0.2.15/8", "it has no subnet mask", without(ack(), dhcpv4.OptionSubnetMask)},
		{"no mask, class B", "172.16.2.15/16", "it has no subnet mask", without(yiaddr("172.16.2.15"), dhcpv4.OptionSubnetMask)},
		{"no mask, class C", "192.0.2.15/24", "it has no subnet mask", without(yiaddr("192.0.2.15"), dhcpv4.OptionSubnetMask)},
		{"no mask, no class", "240.0.2.15/32", "it has no subnet mask", without(yiaddr("240.0.2.15"), dhcpv4.OptionSubnetMask)},
		{"mask with holes", "192.0.2.15/24", "its subnet mask ff00ff00 is none", yiaddr("192.0.2.15", option(1, 255, 0, 255, 0))},
		{"mask of zero", "192.0.2.15/24", "its subnet mask 00000000 is none", yiaddr("192.0.2.15", option(1, 0, 0, 0, 0))},
		{"mask of 16 bytes", "192.0.2.15/24", "its subnet mask 00000000 is none", yiaddr("192.0.2.15", option(1, make([]byte, 16)...))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, faults, err := leaseFrom(tc.p, true, 0)
			lab.Must(t, err)
			if l.Address.String() != tc.want {
				t.Errorf("address = %s, want %s", l.Address, tc.want)
			}
			expectFault(t, faults, tc.fault)
		})
	}
}

func TestLeaseTimeThatIsNone(t *testing.T) {
	for name, p := range map[string]*dhcpv4.DHCPv4{
		"absent": without(ack(), dhcpv4.OptionIPAddressLeaseTime),
		"zero":   ack(option(51, 0, 0, 0, 0)),
		"short":  ack(option(51, 0, 0, 9)),
	} {
		l, faults, err := leaseFrom(p, true, 0)
		lab.Must(t, err)
		if l.Expiry != defaultLength {
			t.Errorf("%s: the lease ends after %s, want %s", name, l.Expiry, defaultLength)
		}
		expectFault(t, faults, "it has no lease time")
	}
}

func TestOptionsThatAreThereTwice(t *testing.T) {
	l, faults, err := leaseFrom(ack(option(51, 0, 0, 0, 60, 0, 0, 0, 60), option(1, 255, 255, 0, 0, 255, 255, 0, 0)), true, 0)
	lab.Must(t, err)
	if l.Expiry != time.Minute || l.Address.String() != "10.0.2.15/16" {
		t.Errorf("the lease is of %s for %s, want 10.0.2.15/16 for a minute", l.Address, l.Expiry)
	}
	expectFault(t, faults, "its option 1 has 8 bytes, of which the first 4 count; its option 51 has 8 bytes")
}

func TestTimesOutOfOrder(t *testing.T) {
	for _, tc := range []struct {
		name                  string
		t1, t2, renew, rebind time.Duration
	}{
		{"T1 after T2", 50 * time.Minute, 40 * time.Minute, 30 * time.Minute, 40 * time.Minute},
		{"T2 after the end", 10 * time.Minute, 2 * time.Hour, 10 * time.Minute, 52*time.Minute + 30*time.Second},
		{"zeros", 0, 0, 30 * time.Minute, 52*time.Minute + 30*time.Second},
		{"early T2 alone", 0, 10 * time.Minute, 5 * time.Minute, 10 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, _, err := leaseFrom(ack(dhcpv4.OptRenewTimeValue(tc.t1), dhcpv4.OptRebindingTimeValue(tc.t2)), true, 0)
			lab.Must(t, err)
			if l.Renew <= 0 || l.Renew >= l.Rebind || l.Rebind >= l.Expiry {
				t.Errorf("times %s, %s, %s are not in order", l.Renew, l.Rebind, l.Expiry)
			}
			if l.Renew != tc.renew || l.Rebind != tc.rebind {
				t.Errorf("times %s, %s, want %s, %s", l.Renew, l.Rebind, tc.renew, tc.rebind)
			}
		})
	}
}

func TestDatagram(t *testing.T) {
	payload := []byte("odd length.")
	p := datagram(payload, net.IPv4(10, 0, 2, 15).To4())
	if got := sum(0, p[:ipHeader]); got != 0xffff {
		t.Errorf("the IP header sums up to %#x, want 0xffff", got)
	}
	pseudo := uint32(sum(0, p[12:20])) + 17 + uint32(udpHeader+len(payload))
	if got := sum(pseudo, p[ipHeader:]); got != 0xffff {
		t.Errorf("UDP sums up to %#x, want 0xffff", got)
	}
	if got := udpPayload(append(p, 0, 0, 0)); string(got) != string(payload) {
		t.Errorf("udpPayload of a padded frame = %q, want %q", got, payload)
	}
}

// raw returns an acknowledgement with nothing but these options, as they are.
func raw(options string, change func(p []byte)) []byte {
	p := ack().ToBytes()[:atOptions]
	change(p)
	return append(p, options...)
}

func TestParse(t *testing.T) {
	const first, second, third = "\x0c\x01a", "\x0f\x01b", "\x35\x01\x05"
	inFile := func(p []byte) { copy(p[atFile:], second+"\xff") }
	inBoth := func(p []byte) { inFile(p); copy(p[atSname:], third) }
	for _, tc := range []struct {
		name, options string
		change        func([]byte)
		want          dhcpv4.Options
		whole         bool
	}{
		{"no end", first + second, inBoth, dhcpv4.Options{12: {'a'}, 15: {'b'}}, true},
		{"nothing after the end", first + "\xff" + second, inBoth, dhcpv4.Options{12: {'a'}}, true},
		{"padding", "\x00\x00" + first + "\x00\xff", inBoth, dhcpv4.Options{12: {'a'}}, true},
		{"in parts", first + second + first, inBoth, dhcpv4.Options{12: {'a', 'a'}, 15: {'b'}}, true},
		{"cut off", first + "\x0f\x09b", inBoth, dhcpv4.Options{12: {'a'}}, false},
		{"cut off after its code", first + "\x0f", inBoth, dhcpv4.Options{12: {'a'}}, false},
		{"overload of the file", first + "\x34\x01\x01\xff", inBoth, dhcpv4.Options{12: {'a'}, 15: {'b'}, 52: {1}}, true},
		{"overload of the server's name", first + "\x34\x01\x02\xff", inBoth, dhcpv4.Options{12: {'a'}, 53: {5}, 52: {2}}, true},
		{"overload of both", first + "\x34\x01\x03\xff", inBoth, dhcpv4.Options{12: {'a'}, 15: {'b'}, 53: {5}, 52: {3}}, true},
		{"BOOTP", first, func(p []byte) { p[atCookie] = 0 }, dhcpv4.Options{}, false},
	} {
		p, whole := parse(raw(tc.options, tc.change))
		if diff := cmp.Diff(tc.want, p.Options); diff != "" || whole != tc.whole {
			t.Errorf("%s: whole = %v, options, want -, got +:\n%s", tc.name, whole, diff)
		}
	}
}

// bomb is an acknowledgement whose search list became megabytes once: a name that
// fills half of it, and references to it.
func bomb() []byte {
	list := []byte(strings.Repeat("\x01a", 800) + "\x00" + strings.Repeat("\xc0\x00", 900))
	return ack(option(119, list...)).ToBytes()
}

// FuzzReceive feeds the machine whatever may come in from the network.
func FuzzReceive(f *testing.F) {
	f.Add(datagram(ack().ToBytes(), nil))
	f.Add(datagram(ack(option(121, 24, 10, 0), option(119, 0xc0, 0)).ToBytes(), nil))
	f.Add(datagram(bomb(), nil))
	f.Add(datagram(ack(option(52, 3)).ToBytes(), nil))
	f.Fuzz(func(t *testing.T, frame []byte) {
		payload := udpPayload(frame)
		if len(payload) < atOptions {
			return
		}
		b := newBench(t)
		b.m.Log = func(string, ...any) {}
		b.m.LinkUp(b.Now)
		b.answer(dhcpv4.MessageTypeOffer)
		copy(payload[atXID:], b.sent.TransactionID[:])
		if took := lab.Allocated(func() { b.m.Receive(b.Now, payload) }); took > 256<<10 {
			t.Errorf("a message of %d bytes became %d", len(payload), took)
		}
		if b.Applied != nil {
			expectSane(t, b.Applied, b.Now)
		}
	})
}

func expectSane(t *testing.T, l *Lease, now time.Duration) {
	if l.Renew <= now || l.Renew > l.Rebind || l.Rebind > l.Expiry {
		t.Errorf("times %s, %s, %s are not in order", l.Renew, l.Rebind, l.Expiry)
	}
	for _, d := range l.Search {
		if !dnsname.Valid(d) {
			t.Errorf("search domain %q", d)
		}
	}
	if l.Hostname != "" && !dnsname.Valid(l.Hostname) {
		t.Errorf("hostname %q", l.Hostname)
	}
}
