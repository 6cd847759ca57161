package dhcp

import (
	"net"
	"net/netip"
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
}{
	{"bare", nil, Lease{}},
	{"router", []dhcpv4.Option{option(3, 10, 0, 2, 2, 10, 0, 2, 3)}, Lease{Routes: []Route{{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.2.2")}}}},
	{"unusable router", []dhcpv4.Option{option(3, 0, 0, 0, 0)}, Lease{}},
	{
		"classless routes win over the router",
		[]dhcpv4.Option{option(3, 10, 0, 2, 9), option(121, 0, 10, 0, 2, 2, 16, 172, 16, 0, 0, 0, 0, 32, 169, 254, 169, 254, 10, 0, 2, 3)},
		Lease{Routes: []Route{
			{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.2.2")},
			{To: netip.MustParsePrefix("172.16.0.0/16")},
			{netip.MustParsePrefix("169.254.169.254/32"), netip.MustParseAddr("10.0.2.3")},
		}},
	},
	{
		"names",
		[]dhcpv4.Option{option(6, 10, 0, 2, 3, 0, 0, 0, 0, 8, 8, 8, 8), option(15, []byte("lab.example\x00")...)},
		Lease{DNS: []netip.Addr{netip.MustParseAddr("10.0.2.3"), netip.MustParseAddr("8.8.8.8")}, Search: []string{"lab.example"}},
	},
	{
		"search list wins over domain",
		[]dhcpv4.Option{option(15, []byte("lab.example")...), option(119, []byte("\x01a\x07example\x00\x01b\xc0\x02")...)},
		Lease{Search: []string{"a.example", "b.example"}},
	},
	{"line break in a domain", []dhcpv4.Option{option(15, []byte("x\nnameserver\t6.6.6.6")...)}, Lease{Search: []string{"x", "nameserver", "6.6.6.6"}}},
	{"domain with control bytes", []dhcpv4.Option{option(15, []byte("x\x07y")...)}, Lease{}},
	{"NTP", []dhcpv4.Option{option(42, 10, 0, 2, 4, 224, 0, 1, 1)}, Lease{NTP: []netip.Addr{netip.MustParseAddr("10.0.2.4")}}},
	{"hostname", []dhcpv4.Option{option(12, []byte("Node-7\x00")...)}, Lease{Hostname: "node-7"}},
	{"hostname with a domain", []dhcpv4.Option{option(12, []byte("node-7.lab.example.")...)}, Lease{Hostname: "node-7.lab.example"}},
	{"hostname that is none", []dhcpv4.Option{option(12, []byte("node 7\n")...)}, Lease{}},
	{"hostname too long for the kernel", []dhcpv4.Option{option(12, []byte(strings.Repeat("a", 60)+".example")...)}, Lease{}},
	{"hostname with hyphens at its edges", []dhcpv4.Option{option(12, []byte("-node-")...)}, Lease{}},
	{"localhost", []dhcpv4.Option{option(12, []byte("localhost.localdomain")...)}, Lease{}},
	{"FQDN as text", []dhcpv4.Option{option(81, append([]byte{0, 0, 0}, "node-7.lab.example"...)...)}, Lease{Hostname: "node-7.lab.example"}},
	{"FQDN, encoded", []dhcpv4.Option{option(81, append([]byte{4, 0, 0}, "\x06node-7\x03lab\x00"...)...)}, Lease{Hostname: "node-7.lab"}},
	{"FQDN, encoded, without an end", []dhcpv4.Option{option(81, append([]byte{4, 0, 0}, "\x06node-7"...)...)}, Lease{Hostname: "node-7"}},
	{"FQDN cut off", []dhcpv4.Option{option(81, append([]byte{4, 0, 0}, "\x06node"...)...)}, Lease{}},
	{"FQDN without a name", []dhcpv4.Option{option(81, 0, 0)}, Lease{}},
	{"hostname wins over FQDN", []dhcpv4.Option{option(12, []byte("a")...), option(81, 0, 0, 0, 'b')}, Lease{Hostname: "a"}},
	{"MTU", []dhcpv4.Option{option(26, 0x05, 0x78)}, Lease{MTU: 1400}},
	{"MTU that would break everything", []dhcpv4.Option{option(26, 0, 68)}, Lease{}},
	{"MTU of wrong length", []dhcpv4.Option{option(26, 5)}, Lease{}},
}

func TestLeaseFrom(t *testing.T) {
	for _, tc := range leaseCases {
		t.Run(tc.name, func(t *testing.T) {
			got, err := leaseFrom(ack(tc.options...), 0)
			if err != nil {
				t.Fatalf("leaseFrom: %v", err)
			}
			tc.want.Address, tc.want.Server = netip.MustParsePrefix("10.0.2.15/24"), netip.MustParseAddr("10.0.2.2")
			tc.want.Times = lease.Times{Renew: 30 * time.Minute, Rebind: 52*time.Minute + 30*time.Second, Expiry: time.Hour}
			if diff := cmp.Diff(&tc.want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
				t.Errorf("leaseFrom, want -, got +:\n%s", diff)
			}
		})
	}
}

func TestLeaseFromRefuses(t *testing.T) {
	yiaddr := func(a, b, c, d byte) *dhcpv4.DHCPv4 {
		p := ack()
		p.YourIPAddr = net.IPv4(a, b, c, d)
		return p
	}
	without := func(code dhcpv4.OptionCode) *dhcpv4.DHCPv4 {
		p := ack()
		p.DeleteOption(code)
		return p
	}
	for _, tc := range []struct {
		name, want string
		p          *dhcpv4.DHCPv4
	}{
		{"zero address", "no address for a host", yiaddr(0, 0, 0, 0)},
		{"loopback", "no address for a host", yiaddr(127, 0, 0, 1)},
		{"multicast", "no address for a host", yiaddr(224, 0, 0, 1)},
		{"broadcast", "no address for a host", yiaddr(255, 255, 255, 255)},
		{"the subnet's own address", "broadcast address", yiaddr(10, 0, 2, 0)},
		{"the subnet's broadcast", "broadcast address", yiaddr(10, 0, 2, 255)},
		{"no mask", "no subnet mask", without(dhcpv4.OptionSubnetMask)},
		{"mask with holes", "not a mask", ack(option(1, 255, 0, 255, 0))},
		{"mask of zero", "not a mask", ack(option(1, 0, 0, 0, 0))},
		{"mask of 16 bytes", "not a mask", ack(option(1, make([]byte, 16)...))},
		{"no lease time", "no lease time", without(dhcpv4.OptionIPAddressLeaseTime)},
		{"lease time of zero", "no lease time", ack(option(51, 0, 0, 0, 0))},
		{"lease time twice", "no lease time", ack(option(51, 0, 0, 0, 9, 0, 0, 0, 9))},
		{"no server", "no server identifier", without(dhcpv4.OptionServerIdentifier)},
		{"cut-off routes", "malformed", ack(option(121, 24, 10, 0))},
		{"route mask of 40 bits", "malformed", ack(option(121, 40, 10, 0, 0, 0, 0, 10, 0, 2, 2))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if l, err := leaseFrom(tc.p, 0); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("leaseFrom = %+v, %v, want an error with %q", l, err, tc.want)
			}
		})
	}
}

// A host address that is all zeros or ones is fine where there is no broadcast.
func TestLeaseFromTinySubnets(t *testing.T) {
	for _, mask := range []net.IPMask{net.CIDRMask(31, 32), net.CIDRMask(32, 32)} {
		if _, err := leaseFrom(ack(dhcpv4.OptSubnetMask(mask)), 0); err != nil {
			t.Errorf("leaseFrom with mask %s: %v", mask, err)
		}
	}
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
			l, err := leaseFrom(ack(dhcpv4.OptRenewTimeValue(tc.t1), dhcpv4.OptRebindingTimeValue(tc.t2)), 0)
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

// FuzzReceive feeds the machine whatever may come in from the network.
func FuzzReceive(f *testing.F) {
	f.Add(datagram(ack().ToBytes(), nil))
	f.Add(datagram(ack(option(121, 24, 10, 0), option(119, 0xc0, 0)).ToBytes(), nil))
	f.Fuzz(func(t *testing.T, frame []byte) {
		p, err := dhcpv4.FromBytes(udpPayload(frame))
		if err != nil {
			return
		}
		l, err := leaseFrom(p, time.Hour)
		if err != nil {
			return
		}
		if l.Renew <= time.Hour || l.Renew > l.Rebind || l.Rebind > l.Expiry {
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
	})
}
