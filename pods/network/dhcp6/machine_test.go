package dhcp6

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

var (
	testMAC    = []byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	testServer = DUIDFromMAC([]byte{2, 0, 0, 0, 0, 1})
)

// bench is a machine on a table: a clock that the test moves, and a record of
// what the machine did.
type bench struct {
	t        *testing.T
	m        *Machine
	now      time.Duration
	did      []string // since the last call of expect
	sent     *dhcpv6.Message
	applied  *Lease
	applyErr error
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, now: time.Minute}
	b.m = &Machine{
		DUID:     DUIDFromMAC(testMAC),
		IAID:     IAIDFromMAC(testMAC),
		Name:     "eth0",
		Stateful: true,
		Outside:  b,
		Log:      t.Logf,
		Jitter:   func() float64 { return 0.5 }, // no deviation
	}
	return b
}

func newStatelessBench(t *testing.T) *bench {
	b := newBench(t)
	b.m.Stateful = false
	return b
}

func (b *bench) Send(p *dhcpv6.Message) {
	b.t.Helper()
	// As a server reads it.
	parsed, err := dhcpv6.MessageFromBytes(p.ToBytes())
	if err != nil {
		b.t.Fatalf("a message that cannot be read: %v", err)
	}
	b.sent = parsed
	b.did = append(b.did, p.MessageType.String())
}

func (b *bench) Apply(l, old *Lease) error {
	what := "apply " + l.String()
	if old != nil {
		what += " for " + old.String()
	}
	b.did, b.applied = append(b.did, what), l
	return b.applyErr
}

func (b *bench) Drop(l *Lease) { b.did = append(b.did, "drop "+l.String()) }

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

// part changes an answer.
type part func(p *dhcpv6.Message, ia *dhcpv6.OptIANA)

// granted grants an address for an hour, half of which it is preferred.
func granted(addr string) part { return lives(addr, 30*time.Minute, time.Hour) }

func lives(addr string, preferred, valid time.Duration) part {
	return func(_ *dhcpv6.Message, ia *dhcpv6.OptIANA) {
		ia.Options.Add(&dhcpv6.OptIAAddress{
			IPv6Addr: netip.MustParseAddr(addr).AsSlice(), PreferredLifetime: preferred, ValidLifetime: valid})
	}
}

func times(t1, t2 time.Duration) part {
	return func(_ *dhcpv6.Message, ia *dhcpv6.OptIANA) { ia.T1, ia.T2 = t1, t2 }
}

func with(o dhcpv6.Option) part {
	return func(p *dhcpv6.Message, _ *dhcpv6.OptIANA) { p.UpdateOption(o) }
}

func status(code iana.StatusCode) part { return with(&dhcpv6.OptStatusCode{StatusCode: code}) }

func statusIA(code iana.StatusCode) part {
	return func(_ *dhcpv6.Message, ia *dhcpv6.OptIANA) {
		ia.Options.Add(&dhcpv6.OptStatusCode{StatusCode: code})
	}
}

var (
	rapid   = with(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
	grants  = granted("fd00::15")
	another = with(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionServerID, OptionData: DUIDFromMAC([]byte{2, 0, 0, 0, 0, 2})})
)

// answer receives an answer to the latest message.
func (b *bench) answer(kind dhcpv6.MessageType, parts ...part) {
	b.t.Helper()
	b.m.Receive(b.now, b.reply(kind, parts...))
}

func (b *bench) reply(kind dhcpv6.MessageType, parts ...part) *dhcpv6.Message {
	b.t.Helper()
	p := &dhcpv6.Message{MessageType: kind, TransactionID: b.sent.TransactionID}
	p.AddOption(raw(dhcpv6.OptionClientID, b.m.DUID))
	p.AddOption(raw(dhcpv6.OptionServerID, testServer))
	ia := &dhcpv6.OptIANA{IaId: b.m.IAID}
	for _, change := range parts {
		change(p, ia)
	}
	if len(ia.Options.Options) > 0 {
		p.AddOption(ia)
	}
	parsed, err := dhcpv6.MessageFromBytes(p.ToBytes())
	if err != nil {
		b.t.Fatal(err)
	}
	return parsed
}

func (b *bench) bind() {
	b.t.Helper()
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeReply, rapid, grants)
	b.expect(Bound, "SOLICIT", "apply fd00::15")
}

// asksFor returns the addresses that the latest message names.
func (b *bench) asksFor() string {
	var list []string
	for _, a := range b.sent.Options.OneIANA().Options.Addresses() {
		list = append(list, a.IPv6Addr.String())
	}
	return strings.Join(list, " ")
}

func TestRapidCommit(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.expect(Soliciting, "SOLICIT")
	if b.sent.Options.GetOne(dhcpv6.OptionRapidCommit) == nil {
		t.Error("the solicitation does not ask for a rapid commit")
	}
	if b.sent.Options.OneIANA().IaId != [4]byte{0, 0x12, 0x34, 0x56} {
		t.Errorf("IAID = %x, want the end of the MAC", b.sent.Options.OneIANA().IaId)
	}
	b.answer(dhcpv6.MessageTypeReply, grants) // not what was asked for
	b.expect(Soliciting)
	b.answer(dhcpv6.MessageTypeReply, grants, rapid)
	b.expect(Bound, "apply fd00::15")
}

func TestFourMessages(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeAdvertise, grants)
	b.expect(Requesting, "SOLICIT", "REQUEST")
	if got := b.sent.Options.ServerID().ToBytes(); string(got) != string(testServer) {
		t.Errorf("the request names server %x, want %x", got, testServer)
	}
	if got := b.asksFor(); got != "fd00::15" {
		t.Errorf("the request asks for %q, want fd00::15", got)
	}
	b.answer(dhcpv6.MessageTypeReply, grants)
	b.expect(Bound, "apply fd00::15")
}

func TestRequestedOptions(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	want := dhcpv6.OptionCodes{23, 24, 31, 56, 82}
	if diff := cmp.Diff(want, b.sent.Options.RequestedOptions()); diff != "" {
		t.Errorf("options asked for, want -, got +:\n%s", diff)
	}
	b = newStatelessBench(t)
	b.m.LinkUp(b.now)
	want = dhcpv6.OptionCodes{23, 24, 31, 56, 32, 83}
	if diff := cmp.Diff(want, b.sent.Options.RequestedOptions()); diff != "" {
		t.Errorf("options asked for in an INFORMATION-REQUEST, want -, got +:\n%s", diff)
	}
}

// With a preference, somebody wants the client to choose.
func TestPreference(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeAdvertise, granted("fd00::1"), with(dhcpv6.OptPreference(10)))
	b.answer(dhcpv6.MessageTypeAdvertise, granted("fd00::2"), with(dhcpv6.OptPreference(20)))
	b.answer(dhcpv6.MessageTypeAdvertise, granted("fd00::3"))
	b.expect(Soliciting, "SOLICIT")
	b.sleep(time.Second)
	b.expect(Requesting, "REQUEST")
	if got := b.asksFor(); got != "fd00::2" {
		t.Errorf("it asks for %s, want fd00::2 with the highest preference", got)
	}

	b = newBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeAdvertise, grants, with(dhcpv6.OptPreference(255)))
	b.expect(Requesting, "SOLICIT", "REQUEST")

	b = newBench(t)
	b.m.LinkUp(b.now)
	b.sleep(time.Second)
	b.answer(dhcpv6.MessageTypeAdvertise, grants, with(dhcpv6.OptPreference(10)))
	b.expect(Requesting, "SOLICIT", "SOLICIT", "REQUEST") // the second is over
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
	if diff := cmp.Diff([]time.Duration{1, 3, 7, 15, 31, 63, 127, 247, 367}, at); diff != "" {
		t.Errorf("seconds of the repetitions, want -, got +:\n%s", diff)
	}
	if got := b.sent.Options.ElapsedTime(); got != 367*time.Second {
		t.Errorf("elapsed time = %s, want 367s", got)
	}
	b.sleep(time.Hour)
	if got := b.sent.Options.ElapsedTime(); got != 65535*10*time.Millisecond {
		t.Errorf("elapsed time = %s after an hour, want the highest", got)
	}
}

func TestServerSlowsRetransmission(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	tooMuch := with(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionSolMaxRT, OptionData: []byte{0, 2, 0, 0}})
	b.answer(dhcpv6.MessageTypeAdvertise, tooMuch, statusIA(iana.StatusNoAddrsAvail))
	if b.m.solMaxRT != 0 {
		t.Errorf("SOL_MAX_RT = %s, which is out of bounds", b.m.solMaxRT)
	}
	hour := with(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionSolMaxRT, OptionData: []byte{0, 0, 14, 16}})
	b.answer(dhcpv6.MessageTypeAdvertise, hour, statusIA(iana.StatusNoAddrsAvail))
	b.expect(Soliciting, "SOLICIT")
	b.sleep(6 * time.Hour)
	before := b.m.Wake()
	b.now = before
	b.m.Tick(b.now)
	if got := b.m.Wake() - before; got != time.Hour {
		t.Errorf("between solicitations = %s, want an hour", got)
	}
}

func TestDeviation(t *testing.T) {
	for _, tc := range []struct {
		jitter   float64
		state    State
		from, to time.Duration
	}{
		{0, Requesting, 900 * time.Millisecond, 900 * time.Millisecond},
		{1, Requesting, 1100 * time.Millisecond, 1100 * time.Millisecond},
		{0, Soliciting, 1100 * time.Millisecond, 1100 * time.Millisecond}, // never early
	} {
		m := Machine{state: tc.state, Jitter: func() float64 { return tc.jitter }}
		if got := m.wait(0); got < tc.from || got > tc.to {
			t.Errorf("wait in %s with jitter %v = %s, want %s to %s", tc.state, tc.jitter, got, tc.from, tc.to)
		}
	}
}

func TestRenewal(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.sleep(15*time.Minute - time.Second) // half of the preferred time
	b.expect(Bound)
	b.sleep(time.Second)
	b.expect(Renewing, "RENEW")
	if b.asksFor() != "fd00::15" || b.sent.Options.ServerID() == nil {
		t.Errorf("a renewal must name server and address: %s", b.sent.Summary())
	}
	b.answer(dhcpv6.MessageTypeReply, grants)
	b.expect(Bound, "apply fd00::15 for fd00::15")
	b.sleep(15*time.Minute - time.Second)
	b.expect(Bound)
}

func TestServerTimes(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeReply, rapid, grants, times(10*time.Minute, 11*time.Minute))
	b.did = nil
	b.sleep(10 * time.Minute)
	b.expect(Renewing, "RENEW")
	b.sleep(time.Minute)
	b.expect(Rebinding, "RENEW", "RENEW", "REBIND")
	if b.sent.Options.ServerID() != nil {
		t.Error("REBIND names a server")
	}
}

// Without an answer an address lasts to its end, and no longer.
func TestServerGone(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.sleep(24*time.Minute - time.Second) // 0.8 of the preferred time
	if b.m.State() != Renewing {
		t.Errorf("before T2 the state is %s", b.m.State())
	}
	b.sleep(time.Second)
	if b.m.State() != Rebinding {
		t.Errorf("after T2 the state is %s", b.m.State())
	}
	b.did = nil
	b.sleep(36*time.Minute - time.Second)
	for _, act := range b.did {
		if act != "REBIND" {
			t.Errorf("before expiry: %s", act)
		}
	}
	b.did = nil
	b.sleep(time.Second)
	b.expect(Soliciting, "drop fd00::15", "SOLICIT")
	if got := b.asksFor(); got != "fd00::15" {
		t.Errorf("after expiry it asks for %q, want the address of before", got)
	}
	b.answer(dhcpv6.MessageTypeReply, rapid, grants)
	b.expect(Bound, "apply fd00::15")
}

// A lease of 20 seconds has no room for a pause of ten.
func TestShortLease(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeReply, rapid, lives("fd00::15", 20*time.Second, 20*time.Second))
	b.did = nil
	b.sleep(19 * time.Second)
	b.expect(Rebinding, "RENEW", "RENEW", "RENEW", "REBIND", "REBIND", "REBIND")
	b.answer(dhcpv6.MessageTypeReply, another, lives("fd00::15", 20*time.Second, 20*time.Second))
	b.expect(Bound, "apply fd00::15 for fd00::15")
}

func TestUnlimitedLease(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeReply, rapid, lives("fd00::15", infinite, infinite))
	b.did = nil
	b.sleep(1000 * time.Hour)
	b.expect(Bound)
}

func TestServerForgotLease(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply, statusIA(iana.StatusNoBinding))
	b.expect(Requesting, "RENEW", "REQUEST")
	if got := b.asksFor(); got != "fd00::15" {
		t.Errorf("it asks for %q, want the address that it has", got)
	}
	b.answer(dhcpv6.MessageTypeReply, grants)
	b.expect(Bound, "apply fd00::15 for fd00::15")
}

// The address stays in use: nobody said that it must not.
func TestServerForgotLeaseAndHasNone(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply, statusIA(iana.StatusNoBinding))
	b.answer(dhcpv6.MessageTypeReply, statusIA(iana.StatusNoAddrsAvail))
	b.expect(Soliciting, "RENEW", "REQUEST")
	b.sleep(time.Second)
	b.expect(Soliciting, "SOLICIT")
	b.answer(dhcpv6.MessageTypeReply, rapid, granted("fd00::16"))
	// The old one was not mentioned, and is another lease's.
	b.expect(Bound, "apply fd00::16 for fd00::15")
}

func TestServerTakesAddressBack(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply, lives("fd00::15", 0, 0))
	b.expect(Soliciting, "RENEW", "drop fd00::15", "SOLICIT")
}

func TestServerRenumbers(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply, lives("fd00::15", 0, 0), granted("fd01::15"))
	b.expect(Bound, "RENEW", "apply fd01::15 for fd00::15")
}

func TestAddressNotMentionedStays(t *testing.T) {
	b := newBench(t)
	b.bind()
	old := b.applied.Addresses[0]
	b.sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply, granted("fd01::15"))
	b.expect(Bound, "RENEW", "apply fd01::15 fd00::15 for fd00::15")
	if got := b.applied.Addresses[1]; got != old {
		t.Errorf("the old address now has %v, want %v", got, old)
	}
}

func TestUselessRenewalsAreIgnored(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply)
	b.answer(dhcpv6.MessageTypeReply, status(iana.StatusUnspecFail))
	b.answer(dhcpv6.MessageTypeReply, status(iana.StatusUseMulticast))
	b.answer(dhcpv6.MessageTypeReply, statusIA(iana.StatusNoAddrsAvail))
	b.answer(dhcpv6.MessageTypeReply, grants, times(20*time.Minute, 10*time.Minute))
	b.expect(Renewing, "RENEW")
	b.sleep(10 * time.Second)
	b.expect(Renewing, "RENEW")
	b.answer(dhcpv6.MessageTypeReply, grants)
	b.expect(Bound, "apply fd00::15 for fd00::15")
}

func TestRefusalsDoNotLoop(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	start := b.now
	for range 8 {
		b.answer(dhcpv6.MessageTypeAdvertise, grants)
		b.answer(dhcpv6.MessageTypeReply, statusIA(iana.StatusNoAddrsAvail))
		b.sleep(b.m.Wake() - b.now)
	}
	if took := b.now - start; took < 2*time.Minute {
		t.Errorf("8 attempts took %s, want more than two minutes", took)
	}
}

func TestOffersWithoutAddressAreIgnored(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeAdvertise)
	b.answer(dhcpv6.MessageTypeAdvertise, statusIA(iana.StatusNoAddrsAvail))
	b.answer(dhcpv6.MessageTypeAdvertise, status(iana.StatusNoAddrsAvail))
	b.answer(dhcpv6.MessageTypeAdvertise, lives("fd00::15", 0, 0))
	b.answer(dhcpv6.MessageTypeAdvertise, lives("fd00::15", time.Hour, time.Minute)) // nonsense
	b.answer(dhcpv6.MessageTypeAdvertise, granted("ff02::1"))
	b.answer(dhcpv6.MessageTypeAdvertise, granted("fe80::1"))
	b.expect(Soliciting, "SOLICIT")
}

func TestOthersMessagesAreIgnored(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	late := b.reply(dhcpv6.MessageTypeReply, rapid, grants)
	late.TransactionID[0]++
	b.m.Receive(b.now, late)
	b.answer(dhcpv6.MessageTypeReply, rapid, grants, with(raw(dhcpv6.OptionClientID, testServer)))
	anonymous := b.reply(dhcpv6.MessageTypeReply, rapid, grants)
	anonymous.Options.Del(dhcpv6.OptionServerID)
	b.m.Receive(b.now, anonymous)
	foreign := b.reply(dhcpv6.MessageTypeReply, rapid, grants)
	foreign.Options.OneIANA().IaId = [4]byte{1, 2, 3, 4}
	b.m.Receive(b.now, foreign)
	b.answer(dhcpv6.MessageTypeSolicit, grants)
	b.expect(Soliciting, "SOLICIT")
}

func TestSilenceAfterOffer(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeAdvertise, grants)
	b.sleep(15 * time.Second)
	b.expect(Soliciting, "SOLICIT", "REQUEST", "REQUEST", "REQUEST", "REQUEST")
	b.sleep(time.Second)
	b.expect(Soliciting, "SOLICIT")
	if got := b.sent.Options.ElapsedTime(); got != 0 {
		t.Errorf("the first message of an exchange has elapsed time %s, want 0", got)
	}
}

func TestLinkReturns(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.sleep(5 * time.Minute)
	b.m.LinkUp(b.now)
	b.expect(Confirming, "CONFIRM")
	if got := b.asksFor(); got != "fd00::15" {
		t.Errorf("it asks about %q, want fd00::15", got)
	}
	b.answer(dhcpv6.MessageTypeReply, status(iana.StatusSuccess))
	b.expect(Bound, "apply fd00::15 for fd00::15")
	b.sleep(10 * time.Minute) // T1 is what it was
	b.expect(Renewing, "RENEW")
}

func TestLinkReturnsElsewhere(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeReply, status(iana.StatusNotOnLink))
	b.expect(Soliciting, "CONFIRM", "drop fd00::15", "SOLICIT")
	if got := b.asksFor(); got != "" {
		t.Errorf("it asks for %q, which is not of this link", got)
	}
}

func TestNobodyConfirms(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.m.LinkUp(b.now)
	b.sleep(10 * time.Second)
	b.expect(Bound, "CONFIRM", "CONFIRM", "CONFIRM", "CONFIRM", "apply fd00::15 for fd00::15")
}

func TestLinkStaysAway(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.sleep(time.Hour)
	b.expect(NoLink, "drop fd00::15")
	b.m.LinkUp(b.now)
	b.expect(Soliciting, "SOLICIT")
}

func TestResume(t *testing.T) {
	b := newBench(t)
	b.bind()
	l := b.applied
	b = newBench(t)
	b.m.Resume(l)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeReply)
	b.expect(Bound, "CONFIRM", "apply fd00::15 for fd00::15")
}

func TestDuplicate(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.Duplicate(b.now, netip.MustParseAddr("fd00::99")) // not ours
	b.expect(Bound)
	b.m.Duplicate(b.now, netip.MustParseAddr("fd00::15"))
	b.expect(Declining, "drop fd00::15", "DECLINE")
	if b.asksFor() != "fd00::15" || b.sent.Options.ServerID() == nil {
		t.Errorf("DECLINE must name server and address: %s", b.sent.Summary())
	}
	b.answer(dhcpv6.MessageTypeReply, status(iana.StatusSuccess))
	b.sleep(time.Second)
	b.expect(Soliciting, "SOLICIT")
	if got := b.asksFor(); got != "" {
		t.Errorf("it asks for %q again", got)
	}
}

func TestServerOnlyHasDuplicates(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.now)
	start := b.now
	for range 8 {
		b.answer(dhcpv6.MessageTypeReply, rapid, grants)
		b.m.Duplicate(b.now, netip.MustParseAddr("fd00::15"))
		b.answer(dhcpv6.MessageTypeReply)
		b.sleep(b.m.Wake() - b.now)
	}
	if took := b.now - start; took < 2*time.Minute {
		t.Errorf("8 attempts took %s, want more than two minutes", took)
	}
}

func TestDeclineUnanswered(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.Duplicate(b.now, netip.MustParseAddr("fd00::15"))
	b.sleep(16 * time.Second)
	b.expect(Soliciting, "drop fd00::15", "DECLINE", "DECLINE", "DECLINE", "DECLINE", "SOLICIT")
}

func TestAddressCannotBeUsed(t *testing.T) {
	b := newBench(t)
	b.applyErr = errors.New("no space")
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeReply, rapid, grants)
	b.expect(Soliciting, "SOLICIT", "apply fd00::15")
	b.sleep(time.Second)
	b.expect(Soliciting, "SOLICIT")
}

func TestStateless(t *testing.T) {
	b := newStatelessBench(t)
	b.m.LinkUp(b.now)
	b.expect(Informing, "INFORMATION-REQUEST")
	if b.sent.Options.OneIANA() != nil {
		t.Error("it asks for an address")
	}
	b.answer(dhcpv6.MessageTypeReply)
	b.expect(Bound, "apply the answer without addresses")
	b.sleep(24*time.Hour - time.Second)
	b.expect(Bound)
	b.sleep(time.Second)
	b.expect(Informing, "INFORMATION-REQUEST")
	b.sleep(30 * time.Hour) // the answer of before is still the best there is
	for _, act := range b.did {
		if act != "INFORMATION-REQUEST" {
			t.Errorf("without a server: %s", act)
		}
	}
}

func TestRefreshTime(t *testing.T) {
	for _, tc := range []struct{ said, want time.Duration }{
		{time.Hour, time.Hour},
		{time.Minute, 10 * time.Minute},
	} {
		b := newStatelessBench(t)
		b.m.LinkUp(b.now)
		b.answer(dhcpv6.MessageTypeReply, with(dhcpv6.OptInformationRefreshTime(tc.said)))
		if got := b.m.Wake() - b.now; got != tc.want {
			t.Errorf("with refresh time %s it asks again after %s, want %s", tc.said, got, tc.want)
		}
	}
	b := newStatelessBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeReply, with(dhcpv6.OptInformationRefreshTime(infinite)))
	b.did = nil
	b.sleep(1000 * time.Hour)
	b.expect(Bound)
}

func TestStatelessAsksAfterLinkReturns(t *testing.T) {
	b := newStatelessBench(t)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeReply)
	b.m.LinkDown()
	b.m.LinkUp(b.now)
	b.expect(Informing, "INFORMATION-REQUEST", "apply the answer without addresses", "INFORMATION-REQUEST")
}

// The advertisements changed from M to O while the program was away, or back.
func TestResumeOfTheOtherKind(t *testing.T) {
	b := newBench(t)
	b.bind()
	l := b.applied
	b = newStatelessBench(t)
	b.m.Resume(l)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeReply)
	b.expect(Bound, "INFORMATION-REQUEST", "apply the answer without addresses for fd00::15")
	l = b.applied
	b = newBench(t)
	b.m.Resume(l)
	b.m.LinkUp(b.now)
	b.answer(dhcpv6.MessageTypeReply, rapid, grants)
	b.expect(Bound, "SOLICIT", "apply fd00::15 for the answer without addresses")
}

func TestStatesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for s := NoLink; s <= Informing; s++ {
		seen[fmt.Sprint(s)] = true
	}
	if len(seen) != int(Informing)+1 {
		t.Errorf("names = %v", seen)
	}
}
