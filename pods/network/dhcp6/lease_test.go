package dhcp6

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"

	"kios/pods/network/lease"
	"kios/test/lab"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

func TestInformation(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	ntp := dhcpv6.NTPSuboptionSrvAddr(net.ParseIP("fd00::7b"))
	b.answer(dhcpv6.MessageTypeReply, rapid, grants,
		with(dhcpv6.OptDNS(net.ParseIP("fd00::53"), net.ParseIP("fe80::53"), net.ParseIP("ff02::1"), net.ParseIP("::"))),
		with(dhcpv6.OptDomainSearchList(&rfc1035label.Labels{Labels: []string{"a.example", "b example", "c.example"}})),
		with(&dhcpv6.OptNTPServer{Suboptions: dhcpv6.Options{&ntp}}))
	want := &Lease{
		Addresses: []Address{{netip.MustParseAddr("fd00::15"), b.Now + 30*time.Minute, b.Now + time.Hour}},
		Server:    testServer,
		DNS:       []netip.Addr{netip.MustParseAddr("fd00::53"), netip.MustParseAddr("fe80::53%eth0")},
		Search:    []string{"a.example", "c.example"},
		NTP:       []netip.Addr{netip.MustParseAddr("fd00::7b")},
		Times:     lease.Times{Renew: b.Now + 15*time.Minute, Rebind: b.Now + 24*time.Minute, Expiry: b.Now + time.Hour},
	}
	if diff := cmp.Diff(want, b.Applied, compareAddrs); diff != "" {
		t.Errorf("lease, want -, got +:\n%s", diff)
	}

	text, err := json.Marshal(want)
	lab.Must(t, err)
	var again *Lease
	lab.Must(t, json.Unmarshal(text, &again))
	if diff := cmp.Diff(want, again, compareAddrs); diff != "" {
		t.Errorf("lease after JSON, want -, got +:\n%s", diff)
	}
}

func TestSNTPWithoutNTP(t *testing.T) {
	b := newStatelessBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply, with(&dhcpv6.OptionGeneric{
		OptionCode: dhcpv6.OptionSNTPServerList, OptionData: net.ParseIP("fd00::7b")}))
	if diff := cmp.Diff([]netip.Addr{netip.MustParseAddr("fd00::7b")}, b.Applied.NTP, compareAddrs); diff != "" {
		t.Errorf("NTP, want -, got +:\n%s", diff)
	}
}

func TestTimes(t *testing.T) {
	const now, h, m = time.Minute, time.Hour, time.Minute
	addr := netip.MustParseAddr("fd00::1")
	for _, tc := range []struct {
		what          string
		addresses     []Address
		t1, t2        time.Duration
		renew, rebind time.Duration // after now
		expiry        time.Duration
	}{
		{what: "the server's", addresses: []Address{{addr, now + h, now + 2*h}}, t1: 10 * m, t2: 20 * m, renew: 10 * m, rebind: 20 * m, expiry: 2 * h},
		{what: "the client's choice", addresses: []Address{{addr, now + h, now + 2*h}}, renew: 30 * m, rebind: 48 * m, expiry: 2 * h},
		{what: "of the shortest", addresses: []Address{{addr, now + h, now + 2*h}, {addr, now + 10*m, now + 3*h}},
			renew: 5 * m, rebind: 8 * m, expiry: 3 * h},
		{what: "deprecated from the start", addresses: []Address{{addr, now, now + h}}, renew: 30 * m, rebind: 48 * m, expiry: h},
		{what: "too late", addresses: []Address{{addr, now + h, now + h}}, t1: 2 * h, t2: 3 * h, renew: 30 * m, rebind: 48 * m, expiry: h},
		{what: "too late for one of two", addresses: []Address{{addr, now + h, now + 2*h}, {addr, now + 3*h, now + 4*h}}, t1: 2 * h, t2: 3 * h, renew: 30 * m, rebind: 48 * m, expiry: 4 * h},
		{what: "T1 only", addresses: []Address{{addr, now + h, now + h}}, t1: 10 * m, renew: 10 * m, rebind: 48 * m, expiry: h},
		{what: "T1 after the client's T2", addresses: []Address{{addr, now + h, now + h}}, t1: 50 * m, renew: 48 * m, rebind: 48 * m, expiry: h},
		{what: "a lease of a second", addresses: []Address{{addr, now + time.Second, now + time.Second}},
			renew: time.Second, rebind: time.Second, expiry: time.Second},
		{what: "never renewed", addresses: []Address{{addr, now + h, now + h}}, t1: infinite, t2: infinite,
			renew: lease.Forever, rebind: lease.Forever, expiry: h},
		{what: "for ever", addresses: []Address{{addr, lease.Forever, lease.Forever}},
			renew: lease.Forever, rebind: lease.Forever, expiry: lease.Forever},
	} {
		l := &Lease{Addresses: tc.addresses}
		l.setTimes(tc.t1, tc.t2, now)
		for _, x := range []struct {
			name      string
			got, want time.Duration
		}{{"Renew", l.Renew, tc.renew}, {"Rebind", l.Rebind, tc.rebind}, {"Expiry", l.Expiry, tc.expiry}} {
			if x.want != lease.Forever {
				x.want += now
			}
			if x.got != x.want {
				t.Errorf("%s: %s = %s, want %s", tc.what, x.name, x.got, x.want)
			}
		}
	}
}

func TestManyAddresses(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	parts := []part{rapid}
	for n := range 100 {
		parts = append(parts, granted(netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(n)}).String()))
	}
	b.answer(dhcpv6.MessageTypeReply, parts...)
	if got := len(b.Applied.Addresses); got != maxAddresses {
		t.Errorf("the lease has %d addresses, want %d", got, maxAddresses)
	}
}

// A server that gives others at each renewal, and takes none back, does not make them
// more and more.
func TestAddressesDoNotPileUp(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	for n := range 5 {
		parts := []part{rapid}
		for i := range maxAddresses {
			parts = append(parts, lives(netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(n), 15: byte(i)}).String(), 24*time.Hour, 24*time.Hour))
		}
		b.answer(dhcpv6.MessageTypeReply, append(parts, times(time.Minute, time.Hour))...)
		b.Sleep(time.Minute)
	}
	if got := len(b.Applied.Addresses); got != 2*maxAddresses {
		t.Errorf("the lease has %d addresses, want %d", got, 2*maxAddresses)
	}
}

func TestDUIDFromMachineID(t *testing.T) {
	const id = "b09d3b1e4e0f4a5d8c7f00112233aabb"
	got := hex.EncodeToString(DUIDFromMachineID(id + "\n"))
	// openssl dgst -sha256 -mac HMAC -macopt hexkey:ID of the application's name,
	// cut to 16 bytes, with version and variant set.
	if want := "00045bdd99c703414eafa76eeeedabb30824"; got != want {
		t.Errorf("DUIDFromMachineID(%s) = %s, want %s", id, got, want)
	}
	for _, bad := range []string{"", "uninitialized", id[1:], id + "00", strings.Repeat("0", 32)} {
		if got := DUIDFromMachineID(bad); got != nil {
			t.Errorf("DUIDFromMachineID(%q) = %x, want nil", bad, got)
		}
		if got, want := DUID(bad, testMAC), DUIDFromMAC(testMAC); !bytes.Equal(got, want) {
			t.Errorf("DUID(%q) = %x, want the card's, %x", bad, got, want)
		}
	}
	if got, want := DUID(id+"\n", testMAC), DUIDFromMachineID(id); !bytes.Equal(got, want) {
		t.Errorf("DUID(%q) = %x, want the machine's, %x", id, got, want)
	}
}

func TestDUIDFromMAC(t *testing.T) {
	if got, want := hex.EncodeToString(DUIDFromMAC(testMAC)), "00030001525400123456"; got != want {
		t.Errorf("DUIDFromMAC = %s, want %s", got, want)
	}
	if got, want := IAIDFromMAC(testMAC), [4]byte{0, 0x12, 0x34, 0x56}; got != want {
		t.Errorf("IAIDFromMAC = %x, want %x", got, want)
	}
	iaids := map[[4]byte]bool{IAIDFromMAC(testMAC): true, IAIDFromName(testMAC, "vlan10"): true, IAIDFromName(testMAC, "vlan20"): true}
	if len(iaids) != 3 {
		t.Errorf("a card and its VLANs have the IAIDs %v, want three", iaids)
	}
	// printf '\x52\x54\x00\x12\x34\x56vlan10' | sha256sum: it must not change from boot to boot.
	if got, want := IAIDFromName(testMAC, "vlan10"), [4]byte{0xf7, 0x00, 0xb0, 0xc5}; got != want {
		t.Errorf("IAIDFromName = %x, want %x", got, want)
	}
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		what string
		code uint16
		data []byte
		want string
	}{
		{"nothing wrong", 23, net.ParseIP("fd00::53"), ""},
		{"half an address", 23, append(net.ParseIP("fd00::53"), 0xfd), "1 of 17 bytes with DNS servers are left out"},
		{"servers without end", 23, slices.Repeat(net.ParseIP("fd00::53"), 100), "1344 of 1600 bytes with DNS servers"},
		{"a search list cut off", 24, []byte("\x01a\x00\x09b"), "its search list is read up to a mistake"},
		{"a domain that is none", 24, []byte("\x01a\x00\x01 \x00"), "1 of its domains are left out"},
		{"an option cut off", 24, nil, "its options are cut off"},
	} {
		b := newBench(t)
		b.m.LinkUp(b.Now)
		var lines []string
		b.m.Log = func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
		b.answer(dhcpv6.MessageTypeAdvertise, grants)
		raw := b.reply(dhcpv6.MessageTypeReply, grants).ToBytes()
		raw = binary.BigEndian.AppendUint16(raw, tc.code)
		raw = binary.BigEndian.AppendUint16(raw, uint16(max(len(tc.data), 1)))
		b.m.Receive(b.Now, append(raw, tc.data...))
		b.Expect(Bound, "SOLICIT", "REQUEST", "apply fd00::15")
		said := strings.Contains(strings.Join(lines, "\n"), "not all that the DHCPv6 server says can be used: ")
		if said != (tc.want != "") || !strings.Contains(strings.Join(lines, "\n"), tc.want) {
			t.Errorf("%s: it says %q, want %q", tc.what, lines, tc.want)
		}
	}
}

// bomb is options of a message that became half a gigabyte once: a name that fills
// half of them, and references to it, as a value of an option of its own or of one
// that is within another.
func bomb(code dhcpv6.OptionCode, size int) []byte {
	value := []byte(strings.Repeat("\x01a", min(size, 0x3fff)/4))
	value = append(value, 0)
	for len(value) < size {
		value = append(value, 0xc0, 0)
	}
	return (&dhcpv6.Options{&dhcpv6.OptionGeneric{OptionCode: code, OptionData: value}}).ToBytes()
}

// A server that offers nothing of use, again and again, does not fill the log.
func TestIgnoredAnswersAreMentionedThrice(t *testing.T) {
	b := newBench(t)
	lines := 0
	b.m.Log = func(string, ...any) { lines++ }
	b.m.LinkUp(b.Now)
	lines = 0
	for range 1000 {
		b.answer(dhcpv6.MessageTypeAdvertise, status(iana.StatusNoAddrsAvail))
	}
	if lines != 3 {
		t.Errorf("it writes %d lines, want 3", lines)
	}
}

// FuzzReceive checks that no message brings the client down or takes much memory,
// and that nothing gets into a lease that is not fit for use.
func FuzzReceive(f *testing.F) {
	b := newBench(f)
	b.m.LinkUp(b.Now)
	for _, p := range []*dhcpv6.Message{
		b.reply(dhcpv6.MessageTypeReply, rapid, grants),
		b.reply(dhcpv6.MessageTypeAdvertise, grants, times(time.Minute, time.Hour), with(dhcpv6.OptDNS(net.ParseIP("fe80::1")))),
	} {
		f.Add(p.Options.ToBytes())
	}
	ids := b.reply(dhcpv6.MessageTypeReply, rapid, grants).Options.ToBytes()
	for _, code := range []dhcpv6.OptionCode{dhcpv6.OptionDomainSearchList, dhcpv6.OptionFQDN, dhcpv6.OptionNTPServer, dhcpv6.OptionIANA} {
		f.Add(append(bytes.Clone(ids), bomb(code, 3500)...))
		f.Add(append(bytes.Clone(ids), bomb(code, 65000)...))
	}
	f.Fuzz(func(t *testing.T, options []byte) {
		for _, kind := range []dhcpv6.MessageType{dhcpv6.MessageTypeReply, dhcpv6.MessageTypeAdvertise} {
			for _, stateful := range []bool{true, false} {
				b := benchOf(t, stateful)
				b.m.Log, b.fuzzed = func(string, ...any) {}, true
				b.m.LinkUp(b.Now)
				raw := append([]byte{byte(kind)}, b.sent.TransactionID[:]...)
				raw = append(raw, options...)
				if took := lab.Allocated(func() { b.m.Receive(b.Now, raw) }); took > 256<<10 {
					t.Errorf("a message of %d bytes became %d", len(raw), took)
				}
				b.Sleep(time.Minute)
				if l := b.Applied; l != nil && (l.Renew <= time.Minute || l.Renew > l.Rebind || stateful && len(l.Addresses) == 0) {
					t.Errorf("lease %+v", l)
				}
			}
		}
	})
}
