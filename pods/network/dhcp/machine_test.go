package dhcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"kios/pods/network/lease"
	"kios/pods/network/leasetest"
)

var (
	testMAC    = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	testServer = net.IPv4(10, 0, 2, 2)
)

type bench struct {
	leasetest.Bench[State, *Lease]
	m        *Machine
	sent     *dhcpv4.DHCPv4
	watched  netip.Addr
	silenced bool // probes and announcements are not noted
}

func newBench(t testing.TB) *bench {
	b := &bench{}
	identity := func() Identity { return Identity{HardwareAddr: testMAC, Hostname: "node-1"} }
	b.m = NewMachine(identity, b, t.Logf)
	b.m.Jitter = leasetest.Jitter
	b.silenced = true // but in the tests that are about them
	b.Place(t, b.m)
	return b
}

func (b *bench) Send(p *dhcpv4.DHCPv4, to netip.Addr) {
	where := "everyone"
	if to.IsValid() {
		where = to.String()
	}
	b.sent = p
	b.Note(fmt.Sprintf("%s to %s", p.MessageType(), where))
}

// Watch, Probe and Announce implement Outside.
func (b *bench) Watch(addr netip.Addr) error { b.watched = addr; return nil }

func (b *bench) Probe(addr netip.Addr) error { return b.arp("probe", addr) }

func (b *bench) Announce(addr netip.Addr) error { return b.arp("announce", addr) }

func (b *bench) arp(what string, addr netip.Addr) error {
	if !b.silenced {
		b.Note(what + " " + addr.String())
	}
	return nil
}

// lines makes the machine log into a list.
func (b *bench) lines() *[]string {
	var lines []string
	b.m.Log = func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	return &lines
}

// answer receives a reply to the latest message, from a server that grants
// 10.0.2.15/24 for an hour unless options say otherwise.
func (b *bench) answer(kind dhcpv4.MessageType, options ...dhcpv4.Option) {
	b.m.Receive(b.Now, reply(b.sent.TransactionID, kind, options...).ToBytes())
}

func reply(xid dhcpv4.TransactionID, kind dhcpv4.MessageType, options ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	p := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		TransactionID: xid,
		ClientHWAddr:  testMAC,
		YourIPAddr:    net.IPv4(10, 0, 2, 15),
		Options:       dhcpv4.Options{},
	}
	p.UpdateOption(dhcpv4.OptMessageType(kind))
	p.UpdateOption(dhcpv4.OptServerIdentifier(testServer))
	p.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(24, 32)))
	p.UpdateOption(dhcpv4.OptIPAddressLeaseTime(time.Hour))
	for _, o := range options {
		p.UpdateOption(o)
	}
	return p
}

func (b *bench) bind() {
	b.T.Helper()
	b.m.LinkUp(b.Now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Bound, "DISCOVER to everyone", "REQUEST to everyone", "apply 10.0.2.15/24")
}

func TestFirstLease(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.Expect(Selecting, "DISCOVER to everyone")
	b.answer(dhcpv4.MessageTypeOffer)
	b.Expect(Requesting, "REQUEST to everyone")
	if got := b.sent.RequestedIPAddress(); !got.Equal(net.IPv4(10, 0, 2, 15)) {
		t.Errorf("the request asks for %s, want 10.0.2.15", got)
	}
	if got := b.sent.ServerIdentifier(); !got.Equal(testServer) {
		t.Errorf("the request names server %s, want %s", got, testServer)
	}
	if got := b.sent.HostName(); got != "node-1" {
		t.Errorf("the request carries host name %q, want node-1", got)
	}
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Bound, "apply 10.0.2.15/24")
}

func TestNoServerBacksOff(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.ExpectWakes(1, 3, 7, 15, 31, 63, 127, 191, 255)
}

// On a network without DHCPv4 the line comes less and less often.
func TestNoServerIsMentionedLessAndLess(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	lines := b.lines()
	b.Sleep(7 * 24 * time.Hour)
	if got := len(*lines); got < 10 || got > 20 {
		t.Errorf("in a week it writes %d lines, want 10 to 20: %q", got, *lines)
	}
}

// RFC 2131, section 4.4.1.
func TestRequestHasSecondsOfDiscover(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.Sleep(3500 * time.Millisecond)
	if b.sent.NumSeconds != 3 {
		t.Fatalf("the third DISCOVER has secs %d, want 3", b.sent.NumSeconds)
	}
	b.Sleep(2 * time.Second)
	b.answer(dhcpv4.MessageTypeOffer)
	if b.sent.MessageType() != dhcpv4.MessageTypeRequest || b.sent.NumSeconds != 3 {
		t.Errorf("the %s has secs %d, want 3", b.sent.MessageType(), b.sent.NumSeconds)
	}
}

func TestMaximumMessageSize(t *testing.T) {
	for mtu, want := range map[int]uint16{0: 1500, 1500: 1500, 9000: 1500, 1400: 1400, 68: 576} {
		p := Identity{HardwareAddr: testMAC, MTU: mtu}.message(dhcpv4.MessageTypeDiscover, dhcpv4.TransactionID{}, 0)
		if got, _ := p.MaxMessageSize(); got != want {
			t.Errorf("with MTU %d the maximum message size is %d, want %d", mtu, got, want)
		}
	}
}

// What of a lease is of no use is said once, not at each renewal.
func TestFaultsAreMentionedOnce(t *testing.T) {
	b := newBench(t)
	lines := b.lines()
	b.m.LinkUp(b.Now)
	b.answer(dhcpv4.MessageTypeOffer, option(26, 0, 68))
	b.answer(dhcpv4.MessageTypeAck, option(26, 0, 68))
	b.Sleep(30 * time.Minute)
	b.answer(dhcpv4.MessageTypeAck, option(26, 0, 68))
	text := strings.Join(*lines, "\n")
	if strings.Count(text, "not all that 10.0.2.2 says can be used: its MTU is left out") != 1 || !strings.Contains(text, "extended by") {
		t.Errorf("it says:\n%s", text)
	}
}

// A server that offers nothing of use, again and again, does not fill the log.
func TestIgnoredAnswersAreMentionedThrice(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	lines := b.lines()
	for range 1000 {
		p := reply(b.sent.TransactionID, dhcpv4.MessageTypeOffer)
		p.YourIPAddr = net.IPv4(127, 0, 0, 1)
		b.m.Receive(b.Now, p.ToBytes())
	}
	if len(*lines) != 3 {
		t.Errorf("it writes %d lines, want 3", len(*lines))
	}
}

func TestJitterStaysNearTheMean(t *testing.T) {
	for _, jitter := range []float64{0, 0.999} {
		m := newBench(t).m
		m.Jitter = func() float64 { return jitter }
		if got := m.Backoff(2); got < 3*time.Second || got > 5*time.Second {
			t.Errorf("Backoff(2) with jitter %v = %s, want 3s to 5s", jitter, got)
		}
	}
}

func TestRenewal(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.Sleep(30*time.Minute - time.Second)
	b.Expect(Bound)
	b.Sleep(time.Second)
	b.Expect(Renewing, "REQUEST to 10.0.2.2")
	if !b.sent.ClientIPAddr.Equal(net.IPv4(10, 0, 2, 15)) || b.sent.Options.Has(dhcpv4.OptionRequestedIPAddress) ||
		b.sent.Options.Has(dhcpv4.OptionServerIdentifier) {
		t.Errorf("a renewal must name its address in ciaddr only (RFC 2131, table 5): %s", b.sent.Summary())
	}
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Bound, "apply 10.0.2.15/24 for 10.0.2.15/24")
	b.Sleep(30*time.Minute - time.Second)
	b.Expect(Bound)
}

func TestServerTimes(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck,
		dhcpv4.OptRenewTimeValue(10*time.Minute), dhcpv4.OptRebindingTimeValue(20*time.Minute))
	b.Did = nil
	b.Sleep(10 * time.Minute)
	b.Expect(Renewing, "REQUEST to 10.0.2.2")
	b.Sleep(10 * time.Minute)
	b.Expect(Rebinding, "REQUEST to 10.0.2.2", "REQUEST to 10.0.2.2", "REQUEST to 10.0.2.2", "REQUEST to 10.0.2.2",
		"REQUEST to everyone")
}

func TestServerGone(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.Sleep(52*time.Minute + 30*time.Second) // 7/8 of an hour
	if b.m.State() != Rebinding || b.Did[len(b.Did)-1] != "REQUEST to everyone" {
		t.Errorf("after T2 the state is %s and the latest act %q", b.m.State(), b.Did[len(b.Did)-1])
	}
	b.Did = nil
	b.Sleep(7*time.Minute + 29*time.Second)
	b.ExpectOnly("REQUEST to everyone") // before expiry
	b.Sleep(time.Second)
	b.Expect(Selecting, "drop 10.0.2.15/24", "DISCOVER to everyone")
	if got := b.sent.RequestedIPAddress(); !got.Equal(net.IPv4(10, 0, 2, 15)) {
		t.Errorf("after expiry it asks for %s, want the address of before", got)
	}
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Bound, "REQUEST to everyone", "apply 10.0.2.15/24")
}

func TestNak(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after time.Duration
	}{
		{"renewing", 31 * time.Minute},
		{"rebinding", 53 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			b.bind()
			b.Sleep(tc.after)
			b.Did = nil
			b.answer(dhcpv4.MessageTypeNak)
			b.Expect(Selecting, "drop 10.0.2.15/24", "DISCOVER to everyone")
			if b.sent.Options.Has(dhcpv4.OptionRequestedIPAddress) {
				t.Errorf("asks for an address that was just refused")
			}
		})
	}
}

// A server that offers and then refuses must not be asked in a tight loop.
func TestNakForOfferPauses(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	for _, pause := range []time.Duration{1, 2, 4, 8} {
		b.answer(dhcpv4.MessageTypeOffer)
		b.Did = nil
		b.answer(dhcpv4.MessageTypeNak)
		b.Sleep(pause*time.Second - time.Millisecond)
		b.Expect(Selecting)
		b.Sleep(time.Millisecond)
		b.Expect(Selecting, "DISCOVER to everyone")
	}
}

func TestServerFallsSilentAfterOffer(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.Did = nil
	b.Sleep(16 * time.Second)
	b.Expect(Selecting, "REQUEST to everyone", "REQUEST to everyone", "REQUEST to everyone", "DISCOVER to everyone")
}

func TestLinkReturns(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.Sleep(time.Minute)
	b.Expect(NoLink)
	b.m.LinkUp(b.Now)
	b.Expect(Rebooting, "REQUEST to everyone")
	if !b.sent.RequestedIPAddress().Equal(net.IPv4(10, 0, 2, 15)) || b.sent.Options.Has(dhcpv4.OptionServerIdentifier) {
		t.Errorf("INIT-REBOOT must ask for the address and name no server: %s", b.sent.Summary())
	}
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Bound, "apply 10.0.2.15/24 for 10.0.2.15/24")
}

func TestLinkReturnsElsewhere(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.m.LinkUp(b.Now)
	b.Did = nil
	b.answer(dhcpv4.MessageTypeNak)
	b.Expect(Selecting, "drop 10.0.2.15/24", "DISCOVER to everyone")
}

func TestLeaseExpiresWithoutLink(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.Sleep(time.Hour)
	b.Expect(NoLink, "drop 10.0.2.15/24")
	b.m.LinkUp(b.Now)
	b.Expect(Selecting, "DISCOVER to everyone")
}

// After a restart the address stays even when no server answers: it is still
// leased. A new lease then replaces it.
func TestResume(t *testing.T) {
	b := newBench(t)
	b.m.Resume(&Lease{
		Address: netip.MustParsePrefix("10.0.9.9/24"),
		Server:  netip.MustParseAddr("10.0.9.1"),
		Times:   lease.Times{Renew: b.Now + 10*time.Second, Rebind: b.Now + 20*time.Second, Expiry: b.Now + time.Hour},
	})
	b.m.LinkUp(b.Now)
	b.Expect(Rebooting, "REQUEST to everyone")
	b.Sleep(7 * time.Second)
	b.Expect(Selecting, "REQUEST to everyone", "REQUEST to everyone", "DISCOVER to everyone")
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Bound, "REQUEST to everyone", "apply 10.0.2.15/24 for 10.0.9.9/24")
}

func TestUnusableAnswersAreIgnored(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.Did = nil
	for name, p := range map[string]*dhcpv4.DHCPv4{
		"another transaction": reply(dhcpv4.TransactionID{1}, dhcpv4.MessageTypeOffer),
		"ACK out of turn":     reply(b.sent.TransactionID, dhcpv4.MessageTypeAck),
		"no server": func() *dhcpv4.DHCPv4 {
			p := reply(b.sent.TransactionID, dhcpv4.MessageTypeOffer)
			p.DeleteOption(dhcpv4.OptionServerIdentifier)
			return p
		}(),
		"another client identifier": reply(b.sent.TransactionID, dhcpv4.MessageTypeOffer,
			dhcpv4.OptClientIdentifier([]byte{1, 2, 2, 2, 2, 2, 2})),
		"another client": func() *dhcpv4.DHCPv4 {
			p := reply(b.sent.TransactionID, dhcpv4.MessageTypeOffer)
			p.ClientHWAddr = net.HardwareAddr{2, 2, 2, 2, 2, 2}
			return p
		}(),
	} {
		b.m.Receive(b.Now, p.ToBytes())
		if b.m.State() != Selecting || b.Did != nil {
			t.Errorf("%s: state %s, did %v", name, b.m.State(), b.Did)
		}
	}
	b.Sleep(time.Second)
	b.Expect(Selecting, "DISCOVER to everyone")
}

// A server that is told to send an option by force sends it twice: it arrives as one of
// twice the length, of which the first half counts.
func TestEachOptionCanBeThereTwice(t *testing.T) {
	for _, code := range []uint8{1, 26, 51, 53, 54, 58, 59, 61} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			b := newBench(t)
			b.m.LinkUp(b.Now)
			for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck} {
				p := reply(b.sent.TransactionID, kind, option(26, 5, 0x78), option(52, 3), option(58, 0, 0, 1, 0), option(59, 0, 0, 2, 0),
					dhcpv4.OptClientIdentifier(b.sent.Options.Get(dhcpv4.OptionClientIdentifier)))
				value := p.Options[code]
				p.Options[code] = append(value, value...)
				b.m.Receive(b.Now, p.ToBytes())
			}
			b.Expect(Bound, "DISCOVER to everyone", "REQUEST to everyone", "apply 10.0.2.15/24")
			l := b.Applied
			if l == nil {
				t.Fatal("there is no lease")
			}
			if l.Server.String() != "10.0.2.2" || l.MTU != 1400 || l.Renew-b.Now != 256*time.Second || l.Rebind-b.Now != 512*time.Second || l.Expiry-b.Now != time.Hour {
				t.Errorf("the lease is %s, to be renewed after %s and %s", l.describe(b.Now), l.Renew-b.Now, l.Rebind-b.Now)
			}
		})
	}
}

func TestLongAnswersAreNotRead(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	p := reply(b.sent.TransactionID, dhcpv4.MessageTypeOffer).ToBytes()
	b.m.Receive(b.Now, append(p, make([]byte, maxPacket)...))
	b.Expect(Selecting, "DISCOVER to everyone")
	b.m.Receive(b.Now, p)
	b.Expect(Requesting, "REQUEST to everyone")
}

func TestApplyFails(t *testing.T) {
	b := newBench(t)
	b.ApplyErr = errors.New("device is gone")
	b.m.LinkUp(b.Now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.Did = nil
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Selecting, "apply 10.0.2.15/24")
	b.ApplyErr = nil
	b.Sleep(time.Second)
	b.Expect(Selecting, "DISCOVER to everyone")
}

func TestInfiniteLease(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck, dhcpv4.OptIPAddressLeaseTime(infiniteSeconds*time.Second))
	b.Sleep(time.Minute) // the check of the address
	if b.m.Wake() != lease.Forever {
		t.Errorf("Wake = %s, want Forever", b.m.Wake())
	}
}

func TestDescribe(t *testing.T) {
	l := &Lease{
		Address: netip.MustParsePrefix("10.0.2.15/24"), Server: netip.MustParseAddr("10.0.2.2"), Times: lease.Times{Expiry: time.Hour},
		Routes: []Route{
			{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.2.2")},
			{To: netip.MustParsePrefix("10.9.0.0/16")},
		},
		DNS: []netip.Addr{netip.MustParseAddr("10.0.2.3"), netip.MustParseAddr("10.0.2.4")}, Search: []string{"a.example"}, MTU: 1400,
	}
	want := "10.0.2.15/24 from 10.0.2.2 for 1h0m0s, default via 10.0.2.2, 10.9.0.0/16 on the link, " +
		"DNS 10.0.2.3 10.0.2.4, search a.example, MTU 1400"
	if got := l.describe(0); got != want {
		t.Errorf("describe:\n got %s\nwant %s", got, want)
	}
}
