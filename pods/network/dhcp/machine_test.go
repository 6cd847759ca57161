package dhcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	testMAC    = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	testServer = net.IPv4(10, 0, 2, 2)
)

// bench is a machine on a table: a clock that the test moves, and a record of
// what the machine did.
type bench struct {
	t        *testing.T
	m        *Machine
	now      time.Duration
	did      []string // since the last call of expect
	sent     *dhcpv4.DHCPv4
	applyErr error
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, now: time.Minute}
	b.m = &Machine{
		Identity: func() Identity { return Identity{HardwareAddr: testMAC, Hostname: "node-1"} },
		Outside:  b,
		Log:      t.Logf,
		Jitter:   func() float64 { return 0.5 }, // no deviation
	}
	return b
}

func (b *bench) Send(p *dhcpv4.DHCPv4, to netip.Addr) {
	where := "everyone"
	if to.IsValid() {
		where = to.String()
	}
	b.sent = p
	b.did = append(b.did, fmt.Sprintf("%s to %s", p.MessageType(), where))
}

func (b *bench) Apply(l, old *Lease) error {
	what := "apply " + l.Address.String()
	if old != nil {
		what += " for " + old.Address.String()
	}
	b.did = append(b.did, what)
	return b.applyErr
}

func (b *bench) Drop(l *Lease) { b.did = append(b.did, "drop "+l.Address.String()) }

// expect checks the state and what happened since it was called last.
func (b *bench) expect(state State, did ...string) {
	b.t.Helper()
	if b.m.State() != state {
		b.t.Errorf("state = %s, want %s", b.m.State(), state)
	}
	if diff := cmp.Diff(did, b.did); diff != "" {
		b.t.Errorf("what happened, want -, got +:\n%s", diff)
	}
	b.did = nil
}

// sleep moves the clock, calling Tick when the machine wants it.
func (b *bench) sleep(d time.Duration) {
	end := b.now + d
	for b.m.Wake() <= end {
		b.now = max(b.now, b.m.Wake())
		b.m.Tick(b.now)
	}
	b.now = end
}

// answer receives a reply to the latest message, from a server that grants
// 10.0.2.15/24 for an hour unless options say otherwise.
func (b *bench) answer(kind dhcpv4.MessageType, options ...dhcpv4.Option) {
	b.m.Receive(b.now, reply(b.sent.TransactionID, kind, options...))
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
	b.t.Helper()
	b.m.LinkUp(b.now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck)
	b.expect(Bound, "DISCOVER to everyone", "REQUEST to everyone", "apply 10.0.2.15/24")
}

func TestFirstLease(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.expect(Selecting, "DISCOVER to everyone")
	b.answer(dhcpv4.MessageTypeOffer)
	b.expect(Requesting, "REQUEST to everyone")
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
	b.expect(Bound, "apply 10.0.2.15/24")
}

func TestNoServerBacksOff(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	start := b.now
	var at []time.Duration
	for len(at) < 9 {
		b.now = b.m.Wake()
		b.m.Tick(b.now)
		at = append(at, (b.now-start)/time.Second)
	}
	if diff := cmp.Diff([]time.Duration{1, 3, 7, 15, 31, 63, 127, 191, 255}, at); diff != "" {
		t.Errorf("seconds of the repetitions, want -, got +:\n%s", diff)
	}
}

func TestJitterStaysNearTheMean(t *testing.T) {
	for _, jitter := range []float64{0, 0.999} {
		m := Machine{Jitter: func() float64 { return jitter }}
		if got := m.backoff(2); got < 3*time.Second || got > 5*time.Second {
			t.Errorf("backoff(2) with jitter %v = %s, want 3s to 5s", jitter, got)
		}
	}
}

func TestRenewal(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.sleep(30*time.Minute - time.Second)
	b.expect(Bound)
	b.sleep(time.Second)
	b.expect(Renewing, "REQUEST to 10.0.2.2")
	if !b.sent.ClientIPAddr.Equal(net.IPv4(10, 0, 2, 15)) || b.sent.Options.Has(dhcpv4.OptionRequestedIPAddress) ||
		b.sent.Options.Has(dhcpv4.OptionServerIdentifier) {
		t.Errorf("a renewal must name its address in ciaddr only (RFC 2131, table 5): %s", b.sent.Summary())
	}
	b.answer(dhcpv4.MessageTypeAck)
	b.expect(Bound, "apply 10.0.2.15/24 for 10.0.2.15/24")
	b.sleep(30*time.Minute - time.Second)
	b.expect(Bound)
}

func TestServerTimes(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck,
		dhcpv4.OptRenewTimeValue(10*time.Minute), dhcpv4.OptRebindingTimeValue(20*time.Minute))
	b.did = nil
	b.sleep(10 * time.Minute)
	b.expect(Renewing, "REQUEST to 10.0.2.2")
	b.sleep(10 * time.Minute)
	b.expect(Rebinding, "REQUEST to 10.0.2.2", "REQUEST to 10.0.2.2", "REQUEST to 10.0.2.2", "REQUEST to 10.0.2.2",
		"REQUEST to everyone")
}

func TestServerGone(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.sleep(52*time.Minute + 30*time.Second) // 7/8 of an hour
	if b.m.State() != Rebinding || b.did[len(b.did)-1] != "REQUEST to everyone" {
		t.Errorf("after T2 the state is %s and the latest act %q", b.m.State(), b.did[len(b.did)-1])
	}
	b.did = nil
	b.sleep(7*time.Minute + 29*time.Second)
	for _, act := range b.did {
		if act != "REQUEST to everyone" {
			t.Errorf("before expiry: %s", act)
		}
	}
	b.did = nil
	b.sleep(time.Second)
	b.expect(Selecting, "drop 10.0.2.15/24", "DISCOVER to everyone")
	if got := b.sent.RequestedIPAddress(); !got.Equal(net.IPv4(10, 0, 2, 15)) {
		t.Errorf("after expiry it asks for %s, want the address of before", got)
	}
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck)
	b.expect(Bound, "REQUEST to everyone", "apply 10.0.2.15/24")
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
			b.sleep(tc.after)
			b.did = nil
			b.answer(dhcpv4.MessageTypeNak)
			b.expect(Selecting, "drop 10.0.2.15/24", "DISCOVER to everyone")
			if b.sent.Options.Has(dhcpv4.OptionRequestedIPAddress) {
				t.Errorf("asks for an address that was just refused")
			}
		})
	}
}

// A server that offers and then refuses must not be asked in a tight loop.
func TestNakForOfferPauses(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	for _, pause := range []time.Duration{1, 2, 4, 8} {
		b.answer(dhcpv4.MessageTypeOffer)
		b.did = nil
		b.answer(dhcpv4.MessageTypeNak)
		b.sleep(pause*time.Second - time.Millisecond)
		b.expect(Selecting)
		b.sleep(time.Millisecond)
		b.expect(Selecting, "DISCOVER to everyone")
	}
}

func TestServerFallsSilentAfterOffer(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.did = nil
	b.sleep(16 * time.Second)
	b.expect(Selecting, "REQUEST to everyone", "REQUEST to everyone", "REQUEST to everyone", "DISCOVER to everyone")
}

func TestLinkReturns(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.sleep(time.Minute)
	b.expect(NoLink)
	b.m.LinkUp(b.now)
	b.expect(Rebooting, "REQUEST to everyone")
	if !b.sent.RequestedIPAddress().Equal(net.IPv4(10, 0, 2, 15)) || b.sent.Options.Has(dhcpv4.OptionServerIdentifier) {
		t.Errorf("INIT-REBOOT must ask for the address and name no server: %s", b.sent.Summary())
	}
	b.answer(dhcpv4.MessageTypeAck)
	b.expect(Bound, "apply 10.0.2.15/24 for 10.0.2.15/24")
}

func TestLinkReturnsElsewhere(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.m.LinkUp(b.now)
	b.did = nil
	b.answer(dhcpv4.MessageTypeNak)
	b.expect(Selecting, "drop 10.0.2.15/24", "DISCOVER to everyone")
}

func TestLeaseExpiresWithoutLink(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.sleep(time.Hour)
	b.expect(NoLink, "drop 10.0.2.15/24")
	b.m.LinkUp(b.now)
	b.expect(Selecting, "DISCOVER to everyone")
}

// After a restart the address stays even when no server answers: it is still
// leased. A new lease then replaces it.
func TestResume(t *testing.T) {
	b := newBench(t)
	b.m.Resume(&Lease{
		Address: netip.MustParsePrefix("10.0.9.9/24"),
		Server:  netip.MustParseAddr("10.0.9.1"),
		Renew:   b.now + 10*time.Second, Rebind: b.now + 20*time.Second, Expiry: b.now + time.Hour,
	})
	b.m.LinkUp(b.now)
	b.expect(Rebooting, "REQUEST to everyone")
	b.sleep(7 * time.Second)
	b.expect(Selecting, "REQUEST to everyone", "REQUEST to everyone", "DISCOVER to everyone")
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck)
	b.expect(Bound, "REQUEST to everyone", "apply 10.0.2.15/24 for 10.0.9.9/24")
}

func TestUnusableAnswersAreIgnored(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.did = nil
	for name, p := range map[string]*dhcpv4.DHCPv4{
		"another transaction": reply(dhcpv4.TransactionID{1}, dhcpv4.MessageTypeOffer),
		"ACK out of turn":     reply(b.sent.TransactionID, dhcpv4.MessageTypeAck),
		"no lease time":       reply(b.sent.TransactionID, dhcpv4.MessageTypeOffer, dhcpv4.OptIPAddressLeaseTime(0)),
		"another client": func() *dhcpv4.DHCPv4 {
			p := reply(b.sent.TransactionID, dhcpv4.MessageTypeOffer)
			p.ClientHWAddr = net.HardwareAddr{2, 2, 2, 2, 2, 2}
			return p
		}(),
	} {
		b.m.Receive(b.now, p)
		if b.m.State() != Selecting || b.did != nil {
			t.Errorf("%s: state %s, did %v", name, b.m.State(), b.did)
		}
	}
	b.sleep(time.Second)
	b.expect(Selecting, "DISCOVER to everyone")
}

func TestApplyFails(t *testing.T) {
	b := newBench(t)
	b.applyErr = errors.New("device is gone")
	b.m.LinkUp(b.now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.did = nil
	b.answer(dhcpv4.MessageTypeAck)
	b.expect(Selecting, "apply 10.0.2.15/24")
	b.applyErr = nil
	b.sleep(time.Second)
	b.expect(Selecting, "DISCOVER to everyone")
}

func TestInfiniteLease(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck, dhcpv4.OptIPAddressLeaseTime(infiniteSeconds*time.Second))
	b.did = nil
	if b.m.Wake() != Forever {
		t.Errorf("Wake = %s, want Forever", b.m.Wake())
	}
}

func TestDescribe(t *testing.T) {
	l := &Lease{
		Address: netip.MustParsePrefix("10.0.2.15/24"), Server: netip.MustParseAddr("10.0.2.2"), Expiry: time.Hour,
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
