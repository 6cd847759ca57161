package dhcp

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"kios/pods/network/arp"
	"kios/pods/network/lease"
)

var rival = net.HardwareAddr{2, 0, 0, 0, 0, 9}

func newCheckBench(t *testing.T) *bench {
	b := newBench(t)
	b.silenced = false
	return b
}

func (b *bench) claim(addr string, by net.HardwareAddr) {
	b.m.Claimed(b.Now, arp.Claim{Addr: netip.MustParseAddr(addr), By: by})
}

// offered is an offer of an address other than 10.0.2.15.
func (b *bench) receive(kind dhcpv4.MessageType, last byte) {
	p := reply(b.sent.TransactionID, kind)
	p.YourIPAddr = net.IPv4(10, 0, 2, last)
	b.m.Receive(b.Now, p.ToBytes())
}

// No boot waits for the check: the address is used at once.
func TestAddressIsAnnounced(t *testing.T) {
	b := newCheckBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.Expect(Requesting, "DISCOVER to everyone", "probe 10.0.2.15", "REQUEST to everyone")
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Bound, "apply 10.0.2.15/24", "announce 10.0.2.15")
	if got := b.watched.String(); got != "10.0.2.15" {
		t.Errorf("it watches %s, want 10.0.2.15", got)
	}
	b.Sleep(3 * time.Second)
	b.Expect(Bound, "probe 10.0.2.15", "announce 10.0.2.15", "probe 10.0.2.15")
	b.Sleep(time.Second)
	if b.watched.IsValid() {
		t.Errorf("after the check it still watches %s", b.watched)
	}
	b.claim("10.0.2.15", rival) // anybody could take the address away by that
	b.Sleep(26*time.Minute - 4*time.Second)
	b.Expect(Bound)
	b.Sleep(4 * time.Minute)
	b.answer(dhcpv4.MessageTypeAck)
	b.Sleep(time.Minute)
	b.Expect(Bound, "REQUEST to 10.0.2.2", "apply 10.0.2.15/24 for 10.0.2.15/24")
}

// A link that returns may be another one: the switch learns where the address is.
func TestAddressIsAnnouncedOnALinkThatReturns(t *testing.T) {
	b := newCheckBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck)
	b.Sleep(time.Minute)
	b.m.LinkDown()
	b.m.LinkUp(b.Now)
	b.Did = nil
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Bound, "apply 10.0.2.15/24 for 10.0.2.15/24", "announce 10.0.2.15")
	if b.watched.IsValid() {
		t.Errorf("it listens to claims to %s, which it has had all the time", b.watched)
	}
	b.claim("10.0.2.15", rival)
	b.Sleep(2 * time.Second)
	b.Expect(Bound, "announce 10.0.2.15")
}

// One packet costs ten seconds, and not the address: where it is reserved for the
// machine, the server has no other one.
func TestOneClaimDoesNotGiveTheAddressBack(t *testing.T) {
	b := newCheckBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.claim("10.0.2.16", rival) // not what was asked
	b.claim("10.0.2.15", rival)
	b.Did = nil
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Selecting)
	b.Sleep(9 * time.Second)
	b.Expect(Selecting)
	b.Sleep(time.Second)
	b.Expect(Selecting, "DISCOVER to everyone")
	if got := b.sent.RequestedIPAddress(); !got.Equal(net.IPv4(10, 0, 2, 15)) {
		t.Errorf("it asks for %s, want the same address again", got)
	}
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck)
	b.Sleep(10 * time.Second)
	if b.m.State() != Bound {
		t.Errorf("the state is %s, want BOUND", b.m.State())
	}
}

// claimed makes the machine begin with an offer that others claim.
func (b *bench) claimed(by net.HardwareAddr) {
	b.answer(dhcpv4.MessageTypeOffer)
	b.claim("10.0.2.15", by)
	b.answer(dhcpv4.MessageTypeAck)
	b.Sleep(10 * time.Second)
}

func TestDuplicateIsGivenBack(t *testing.T) {
	b := newCheckBench(t)
	b.m.LinkUp(b.Now)
	b.claimed(rival)
	b.answer(dhcpv4.MessageTypeOffer)
	b.claim("10.0.2.15", rival)
	b.Did = nil
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Selecting, "DECLINE to everyone")
	if !b.sent.RequestedIPAddress().Equal(net.IPv4(10, 0, 2, 15)) || !b.sent.ServerIdentifier().Equal(testServer) ||
		b.sent.Options.Has(dhcpv4.OptionParameterRequestList) {
		t.Errorf("DECLINE must name server and address, and ask for nothing (RFC 2131, table 5): %s", b.sent.Summary())
	}
	b.Sleep(9 * time.Second)
	b.Expect(Selecting)
	b.Sleep(time.Second)
	b.Expect(Selecting, "DISCOVER to everyone")
	if b.sent.Options.Has(dhcpv4.OptionRequestedIPAddress) {
		t.Error("it asks for the address again")
	}
}

func TestDuplicateThatAnswersLate(t *testing.T) {
	b := newCheckBench(t)
	b.m.LinkUp(b.Now)
	for _, did := range [][]string{{"drop 10.0.2.15/24"}, {"drop 10.0.2.15/24", "DECLINE to everyone"}} {
		b.answer(dhcpv4.MessageTypeOffer)
		b.answer(dhcpv4.MessageTypeAck)
		b.Sleep(1500 * time.Millisecond)
		b.Did = nil
		b.claim("10.0.2.15", rival)
		b.Expect(Selecting, did...)
		b.Sleep(9 * time.Second)
		b.Expect(Selecting)
		b.Sleep(time.Second)
	}
}

// Each time another machine: none of them has the address.
func TestClaimsOfManyMachinesGiveNothingBack(t *testing.T) {
	b := newCheckBench(t)
	lines := b.lines()
	b.m.LinkUp(b.Now)
	began := b.Now
	for n := byte(0); b.m.State() == Selecting && n < 100; n++ {
		b.claimed(net.HardwareAddr{2, 0, 0, 0, 1, n})
	}
	if took := b.Now - began; b.m.State() != Bound || took > 70*time.Second {
		t.Errorf("the state is %s after %s, want BOUND within 70s", b.m.State(), took)
	}
	for _, did := range b.Did {
		if strings.HasPrefix(did, "DECLINE") {
			t.Errorf("it gives an address back:\n%s", strings.Join(*lines, "\n"))
		}
	}
}

// A server with nothing but a reserved address offers that one for minutes to nobody
// once it was given back.
func TestAddressAfterSilenceIsUsed(t *testing.T) {
	b := newCheckBench(t)
	lines := b.lines()
	b.m.LinkUp(b.Now)
	b.claimed(rival)
	b.claimed(rival)
	b.Sleep(time.Minute)
	other := net.HardwareAddr{2, 0, 0, 0, 0, 10} // whoever it is
	b.claimed(other)
	if text := strings.Join(*lines, "\n"); b.m.State() != Bound || strings.Count(text, "since 10.0.2.15 was given back: the next one is used") != 1 {
		t.Errorf("the state is %s, want BOUND; it says:\n%s", b.m.State(), text)
	}
}

// A router that answers for all addresses, or one who means harm, keeps nobody
// from the network.
func TestClaimsHaveAnEnd(t *testing.T) {
	for name, claimants := range map[string][]net.HardwareAddr{
		"one machine": {rival, rival},
		"many machines": {rival, {2, 0, 0, 0, 0, 10}, {2, 0, 0, 0, 0, 11}, {2, 0, 0, 0, 0, 12}, {2, 0, 0, 0, 0, 13},
			{2, 0, 0, 0, 0, 14}, {2, 0, 0, 0, 0, 15}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newCheckBench(t)
			lines := b.lines()
			b.m.LinkUp(b.Now)
			for n, by := range claimants {
				b.claimEach(n, by)
			}
			text := strings.Join(*lines, "\n")
			if b.m.State() != Bound || strings.Count(text, "using it anyway") != 1 {
				t.Errorf("the state is %s, want BOUND; it says:\n%s", b.m.State(), text)
			}
		})
	}
}

// claimEach claims the n-th address that is offered again and again.
func (b *bench) claimEach(n int, by net.HardwareAddr) {
	b.T.Helper()
	if b.m.State() != Selecting {
		b.T.Fatalf("the state is %s after %d claims, want SELECTING", b.m.State(), n)
	}
	last := byte(20 + n)
	b.receive(dhcpv4.MessageTypeOffer, last)
	b.claim(netip.AddrFrom4([4]byte{10, 0, 2, last}).String(), by)
	b.receive(dhcpv4.MessageTypeAck, last)
	if b.watched.IsValid() {
		b.T.Errorf("after claim %d it still watches %s", n, b.watched)
	}
	for range 1000 {
		b.claim(netip.AddrFrom4([4]byte{10, 0, 2, last}).String(), by)
	}
	b.Sleep(10 * time.Second)
}

// Nobody shares the subnet of a single address, and routers answer for all others.
func TestSingleAddressIsNotChecked(t *testing.T) {
	b := newCheckBench(t)
	b.m.LinkUp(b.Now)
	single := dhcpv4.OptSubnetMask(net.CIDRMask(32, 32))
	b.answer(dhcpv4.MessageTypeOffer, single)
	b.answer(dhcpv4.MessageTypeAck, single)
	b.Sleep(time.Minute)
	b.Expect(Bound, "DISCOVER to everyone", "REQUEST to everyone", "apply 10.0.2.15/32", "announce 10.0.2.15", "announce 10.0.2.15")
}

func TestLinkDownEndsTheCheck(t *testing.T) {
	b := newCheckBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv4.MessageTypeOffer)
	b.answer(dhcpv4.MessageTypeAck)
	b.m.LinkDown()
	b.Did = nil
	b.Sleep(time.Minute)
	b.Expect(NoLink)
}

// What is in use from another network stays until it expires.
func TestDuplicateLeavesTheLeaseOfBefore(t *testing.T) {
	b := newCheckBench(t)
	b.m.Resume(&Lease{
		Address: netip.MustParsePrefix("10.0.9.9/24"),
		Server:  netip.MustParseAddr("10.0.9.1"),
		Times:   lease.Times{Renew: b.Now + time.Hour, Rebind: b.Now + time.Hour, Expiry: b.Now + time.Hour},
	})
	b.m.LinkUp(b.Now)
	b.Sleep(7 * time.Second)
	b.answer(dhcpv4.MessageTypeOffer)
	b.claim("10.0.2.15", rival)
	b.Did = nil
	b.answer(dhcpv4.MessageTypeAck)
	b.Expect(Selecting)
}

// A lease of a second is over before the check is.
func TestExpiryEndsTheCheck(t *testing.T) {
	b := newCheckBench(t)
	b.m.LinkUp(b.Now)
	second := dhcpv4.OptIPAddressLeaseTime(time.Second)
	b.answer(dhcpv4.MessageTypeOffer, second)
	b.answer(dhcpv4.MessageTypeAck, second)
	b.Did = nil
	b.Sleep(10 * time.Second)
	for n, did := range b.Did {
		if strings.HasPrefix(did, "announce") {
			t.Errorf("it announces an address that it has not any more: %q", b.Did[:n+1])
		}
	}
}
