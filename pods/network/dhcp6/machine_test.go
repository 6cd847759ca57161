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

	"kios/pods/network/leasetest"
	"kios/test/lab"
)

var (
	testMAC    = []byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	testServer = DUIDFromMAC([]byte{2, 0, 0, 0, 0, 1})
)

type bench struct {
	leasetest.Bench[State, *Lease]
	m      *Machine
	sent   *dhcpv6.Message
	fuzzed bool // what is sent may hold identifiers that the library does not know
}

func newBench(t testing.TB) *bench          { return benchOf(t, true) }
func newStatelessBench(t testing.TB) *bench { return benchOf(t, false) }

func benchOf(t testing.TB, stateful bool) *bench {
	b := &bench{}
	id := Identity{DUID: DUIDFromMAC(testMAC), IAID: IAIDFromMAC(testMAC), Name: "eth0", Stateful: stateful}
	b.m = NewMachine(id, b, t.Logf)
	b.m.Jitter = leasetest.Jitter
	b.Place(t, b.m)
	return b
}

func (b *bench) Send(p *dhcpv6.Message) {
	b.T.Helper()
	// As a server reads it.
	parsed, err := dhcpv6.MessageFromBytes(p.ToBytes())
	if err != nil && !b.fuzzed {
		b.T.Fatalf("a message that cannot be read: %v", err)
	}
	if err == nil {
		b.sent = parsed
	}
	b.Note(p.MessageType.String())
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
	b.T.Helper()
	b.m.Receive(b.Now, b.reply(kind, parts...).ToBytes())
}

func (b *bench) reply(kind dhcpv6.MessageType, parts ...part) *dhcpv6.Message {
	b.T.Helper()
	p := &dhcpv6.Message{MessageType: kind, TransactionID: b.sent.TransactionID}
	p.AddOption(raw(dhcpv6.OptionClientID, b.m.id.DUID))
	p.AddOption(raw(dhcpv6.OptionServerID, testServer))
	ia := &dhcpv6.OptIANA{IaId: b.m.id.IAID}
	for _, change := range parts {
		change(p, ia)
	}
	if len(ia.Options.Options) > 0 {
		p.AddOption(ia)
	}
	parsed, err := dhcpv6.MessageFromBytes(p.ToBytes())
	lab.Must(b.T, err)
	return parsed
}

func (b *bench) bind() {
	b.T.Helper()
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply, rapid, grants)
	b.Expect(Bound, "SOLICIT", "apply fd00::15")
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
	b.m.LinkUp(b.Now)
	b.Expect(Soliciting, "SOLICIT")
	if b.sent.Options.GetOne(dhcpv6.OptionRapidCommit) == nil {
		t.Error("the solicitation does not ask for a rapid commit")
	}
	if b.sent.Options.OneIANA().IaId != [4]byte{0, 0x12, 0x34, 0x56} {
		t.Errorf("IAID = %x, want the end of the MAC", b.sent.Options.OneIANA().IaId)
	}
	b.answer(dhcpv6.MessageTypeReply, grants) // not what was asked for
	b.Expect(Soliciting)
	b.answer(dhcpv6.MessageTypeReply, grants, rapid)
	b.Expect(Bound, "apply fd00::15")
}

func TestFourMessages(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeAdvertise, grants)
	b.Expect(Requesting, "SOLICIT", "REQUEST")
	if got := b.sent.Options.ServerID().ToBytes(); string(got) != string(testServer) {
		t.Errorf("the request names server %x, want %x", got, testServer)
	}
	if got := b.asksFor(); got != "fd00::15" {
		t.Errorf("the request asks for %q, want fd00::15", got)
	}
	b.answer(dhcpv6.MessageTypeReply, grants)
	b.Expect(Bound, "apply fd00::15")
}

func TestRequestedOptions(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	want := dhcpv6.OptionCodes{23, 24, 31, 56, 82}
	if diff := cmp.Diff(want, b.sent.Options.RequestedOptions()); diff != "" {
		t.Errorf("options asked for, want -, got +:\n%s", diff)
	}
	b = newStatelessBench(t)
	b.m.LinkUp(b.Now)
	want = dhcpv6.OptionCodes{23, 24, 31, 56, 32, 83}
	if diff := cmp.Diff(want, b.sent.Options.RequestedOptions()); diff != "" {
		t.Errorf("options asked for in an INFORMATION-REQUEST, want -, got +:\n%s", diff)
	}
}

// With a preference, somebody wants the client to choose.
func TestPreference(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeAdvertise, granted("fd00::1"), with(dhcpv6.OptPreference(10)))
	b.answer(dhcpv6.MessageTypeAdvertise, granted("fd00::2"), with(dhcpv6.OptPreference(20)))
	b.answer(dhcpv6.MessageTypeAdvertise, granted("fd00::3"))
	b.Expect(Soliciting, "SOLICIT")
	b.Sleep(time.Second)
	b.Expect(Requesting, "REQUEST")
	if got := b.asksFor(); got != "fd00::2" {
		t.Errorf("it asks for %s, want fd00::2 with the highest preference", got)
	}

	b = newBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeAdvertise, grants, with(dhcpv6.OptPreference(255)))
	b.Expect(Requesting, "SOLICIT", "REQUEST")

	b = newBench(t)
	b.m.LinkUp(b.Now)
	b.Sleep(time.Second)
	b.answer(dhcpv6.MessageTypeAdvertise, grants, with(dhcpv6.OptPreference(10)))
	b.Expect(Requesting, "SOLICIT", "SOLICIT", "REQUEST") // the second is over
}

func TestNoServerBacksOff(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.ExpectWakes(1, 3, 7, 15, 31, 63, 127, 247, 367)
	if got := b.sent.Options.ElapsedTime(); got != 367*time.Second {
		t.Errorf("elapsed time = %s, want 367s", got)
	}
	b.Sleep(time.Hour)
	if got := b.sent.Options.ElapsedTime(); got != 65535*10*time.Millisecond {
		t.Errorf("elapsed time = %s after an hour, want the highest", got)
	}
}

func TestServerSlowsRetransmission(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	tooMuch := with(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionSolMaxRT, OptionData: []byte{0, 2, 0, 0}})
	b.answer(dhcpv6.MessageTypeAdvertise, tooMuch, statusIA(iana.StatusNoAddrsAvail))
	if b.m.solMaxRT != 0 {
		t.Errorf("SOL_MAX_RT = %s, which is out of bounds", b.m.solMaxRT)
	}
	hour := with(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionSolMaxRT, OptionData: []byte{0, 0, 14, 16}})
	b.answer(dhcpv6.MessageTypeAdvertise, hour, statusIA(iana.StatusNoAddrsAvail))
	b.Expect(Soliciting, "SOLICIT")
	b.Sleep(6 * time.Hour)
	before := b.m.Wake()
	b.Now = before
	b.m.Tick(b.Now)
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
		b := newBench(t)
		b.m.Jitter, b.m.offer = func() float64 { return tc.jitter }, &Lease{Server: testServer}
		b.m.Enter(tc.state, 0)
		if got := b.m.Wake(); got < tc.from || got > tc.to {
			t.Errorf("wait in %s with jitter %v = %s, want %s to %s", tc.state, tc.jitter, got, tc.from, tc.to)
		}
	}
}

func TestRenewal(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.Sleep(15*time.Minute - time.Second) // half of the preferred time
	b.Expect(Bound)
	b.Sleep(time.Second)
	b.Expect(Renewing, "RENEW")
	if b.asksFor() != "fd00::15" || b.sent.Options.ServerID() == nil {
		t.Errorf("a renewal must name server and address: %s", b.sent.Summary())
	}
	b.answer(dhcpv6.MessageTypeReply, grants)
	b.Expect(Bound, "apply fd00::15 for fd00::15")
	b.Sleep(15*time.Minute - time.Second)
	b.Expect(Bound)
}

func TestServerTimes(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply, rapid, grants, times(10*time.Minute, 11*time.Minute))
	b.Did = nil
	b.Sleep(10 * time.Minute)
	b.Expect(Renewing, "RENEW")
	b.Sleep(time.Minute)
	b.Expect(Rebinding, "RENEW", "RENEW", "REBIND")
	if b.sent.Options.ServerID() != nil {
		t.Error("REBIND names a server")
	}
}

// Without an answer an address lasts to its end, and no longer.
func TestServerGone(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.Sleep(24*time.Minute - time.Second) // 0.8 of the preferred time
	if b.m.State() != Renewing {
		t.Errorf("before T2 the state is %s", b.m.State())
	}
	b.Sleep(time.Second)
	if b.m.State() != Rebinding {
		t.Errorf("after T2 the state is %s", b.m.State())
	}
	b.Did = nil
	b.Sleep(36*time.Minute - time.Second)
	b.ExpectOnly("REBIND") // before expiry
	b.Sleep(time.Second)
	b.Expect(Soliciting, "drop fd00::15", "SOLICIT")
	if got := b.asksFor(); got != "fd00::15" {
		t.Errorf("after expiry it asks for %q, want the address of before", got)
	}
	b.answer(dhcpv6.MessageTypeReply, rapid, grants)
	b.Expect(Bound, "apply fd00::15")
}

// A lease of 20 seconds has no room for a pause of ten.
func TestShortLease(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply, rapid, lives("fd00::15", 20*time.Second, 20*time.Second))
	b.Did = nil
	b.Sleep(19 * time.Second)
	b.Expect(Rebinding, "RENEW", "RENEW", "RENEW", "REBIND", "REBIND", "REBIND")
	b.answer(dhcpv6.MessageTypeReply, another, lives("fd00::15", 20*time.Second, 20*time.Second))
	b.Expect(Bound, "apply fd00::15 for fd00::15")
}

func TestUnlimitedLease(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply, rapid, lives("fd00::15", infinite, infinite))
	b.Did = nil
	b.Sleep(1000 * time.Hour)
	b.Expect(Bound)
}

func TestServerForgotLease(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.Sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply, statusIA(iana.StatusNoBinding))
	b.Expect(Requesting, "RENEW", "REQUEST")
	if got := b.asksFor(); got != "fd00::15" {
		t.Errorf("it asks for %q, want the address that it has", got)
	}
	b.answer(dhcpv6.MessageTypeReply, grants)
	b.Expect(Bound, "apply fd00::15 for fd00::15")
}

// The address stays in use: nobody said that it must not.
func TestServerForgotLeaseAndHasNone(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.Sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply, statusIA(iana.StatusNoBinding))
	b.answer(dhcpv6.MessageTypeReply, statusIA(iana.StatusNoAddrsAvail))
	b.Expect(Soliciting, "RENEW", "REQUEST")
	b.Sleep(time.Second)
	b.Expect(Soliciting, "SOLICIT")
	b.answer(dhcpv6.MessageTypeReply, rapid, granted("fd00::16"))
	// The old one was not mentioned, and is another lease's.
	b.Expect(Bound, "apply fd00::16 for fd00::15")
}

func TestServerTakesAddressBack(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.Sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply, lives("fd00::15", 0, 0))
	b.Expect(Soliciting, "RENEW", "drop fd00::15", "SOLICIT")
}

func TestServerRenumbers(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.Sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply, lives("fd00::15", 0, 0), granted("fd01::15"))
	b.Expect(Bound, "RENEW", "apply fd01::15 for fd00::15")
}

// It is renewed, too, whatever the server says about the address beside it.
func TestAddressNotMentionedIsRenewed(t *testing.T) {
	for name, said := range map[string][]part{
		"withdrawn":               {lives("fd00::15", 0, 0)},
		"withdrawn, never again":  {lives("fd00::15", 0, 0), times(infinite, infinite)},
		"withdrawn, for later":    {lives("fd00::15", 0, 0), times(2*time.Hour, 3*time.Hour)},
		"granted for ever":        {lives("fd00::15", infinite, infinite), times(infinite, infinite)},
		"granted for a long time": {lives("fd00::15", 10*time.Hour, 20*time.Hour), times(5*time.Hour, 8*time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.m.LinkUp(b.Now)
			b.answer(dhcpv6.MessageTypeReply, rapid, granted("fd00::15"), granted("fd00::16"))
			b.Sleep(15 * time.Minute)
			b.answer(dhcpv6.MessageTypeReply, said...)
			b.Did = nil
			b.Sleep(7*time.Minute + 31*time.Second) // half of the time that it is preferred for
			b.Expect(Renewing, "RENEW")
			if !strings.Contains(b.asksFor(), "fd00::16") {
				t.Errorf("it asks for %q, want fd00::16 among them", b.asksFor())
			}
			b.answer(dhcpv6.MessageTypeReply, granted("fd00::16"))
			if got := b.Applied.Expiry - b.Now; b.m.State() != Bound || got < time.Hour {
				t.Errorf("the state is %s, and the lease ends after %s", b.m.State(), got)
			}
		})
	}
}

func TestAddressNotMentionedStays(t *testing.T) {
	b := newBench(t)
	b.bind()
	old := b.Applied.Addresses[0]
	b.Sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply, granted("fd01::15"))
	b.Expect(Bound, "RENEW", "apply fd01::15 fd00::15 for fd00::15")
	if got := b.Applied.Addresses[1]; got != old {
		t.Errorf("the old address now has %v, want %v", got, old)
	}
}

func TestUselessRenewalsAreIgnored(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.Sleep(15 * time.Minute)
	b.answer(dhcpv6.MessageTypeReply)
	b.answer(dhcpv6.MessageTypeReply, status(iana.StatusUnspecFail))
	b.answer(dhcpv6.MessageTypeReply, status(iana.StatusUseMulticast))
	b.answer(dhcpv6.MessageTypeReply, statusIA(iana.StatusNoAddrsAvail))
	b.answer(dhcpv6.MessageTypeReply, grants, times(20*time.Minute, 10*time.Minute))
	b.Expect(Renewing, "RENEW")
	b.Sleep(10 * time.Second)
	b.Expect(Renewing, "RENEW")
	b.answer(dhcpv6.MessageTypeReply, grants)
	b.Expect(Bound, "apply fd00::15 for fd00::15")
}

func TestRefusalsDoNotLoop(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.ExpectSlow(8, 2*time.Minute, func() {
		b.answer(dhcpv6.MessageTypeAdvertise, grants)
		b.answer(dhcpv6.MessageTypeReply, statusIA(iana.StatusNoAddrsAvail))
	})
}

func TestOffersWithoutAddressAreIgnored(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeAdvertise)
	b.answer(dhcpv6.MessageTypeAdvertise, statusIA(iana.StatusNoAddrsAvail))
	b.answer(dhcpv6.MessageTypeAdvertise, status(iana.StatusNoAddrsAvail))
	b.answer(dhcpv6.MessageTypeAdvertise, lives("fd00::15", 0, 0))
	b.answer(dhcpv6.MessageTypeAdvertise, lives("fd00::15", time.Hour, time.Minute)) // nonsense
	b.answer(dhcpv6.MessageTypeAdvertise, granted("ff02::1"))
	b.answer(dhcpv6.MessageTypeAdvertise, granted("fe80::1"))
	b.Expect(Soliciting, "SOLICIT")
}

func TestOthersMessagesAreIgnored(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	late := b.reply(dhcpv6.MessageTypeReply, rapid, grants)
	late.TransactionID[0]++
	b.m.Receive(b.Now, late.ToBytes())
	b.answer(dhcpv6.MessageTypeReply, rapid, grants, with(raw(dhcpv6.OptionClientID, testServer)))
	anonymous := b.reply(dhcpv6.MessageTypeReply, rapid, grants)
	anonymous.Options.Del(dhcpv6.OptionServerID)
	b.m.Receive(b.Now, anonymous.ToBytes())
	foreign := b.reply(dhcpv6.MessageTypeReply, rapid, grants)
	foreign.Options.OneIANA().IaId = [4]byte{1, 2, 3, 4}
	b.m.Receive(b.Now, foreign.ToBytes())
	b.answer(dhcpv6.MessageTypeSolicit, grants)
	b.answer(dhcpv6.MessageTypeReply, rapid, grants, with(raw(dhcpv6.OptionVendorOpts, make([]byte, maxMessage))))
	b.answer(dhcpv6.MessageTypeReply, rapid, grants, with(raw(dhcpv6.OptionServerID, make([]byte, maxDUID+1))))
	b.m.Receive(b.Now, []byte{byte(dhcpv6.MessageTypeReply)})
	b.Expect(Soliciting, "SOLICIT")
}

func TestSilenceAfterOffer(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeAdvertise, grants)
	b.Sleep(15 * time.Second)
	b.Expect(Soliciting, "SOLICIT", "REQUEST", "REQUEST", "REQUEST", "REQUEST")
	b.Sleep(time.Second)
	b.Expect(Soliciting, "SOLICIT")
	if got := b.sent.Options.ElapsedTime(); got != 0 {
		t.Errorf("the first message of an exchange has elapsed time %s, want 0", got)
	}
}

func TestLinkReturns(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.Sleep(5 * time.Minute)
	b.m.LinkUp(b.Now)
	b.Expect(Confirming, "CONFIRM")
	if got := b.asksFor(); got != "fd00::15" {
		t.Errorf("it asks about %q, want fd00::15", got)
	}
	b.answer(dhcpv6.MessageTypeReply, status(iana.StatusSuccess))
	b.Expect(Bound, "apply fd00::15 for fd00::15")
	b.Sleep(10 * time.Minute) // T1 is what it was
	b.Expect(Renewing, "RENEW")
}

func TestLinkReturnsElsewhere(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply, status(iana.StatusNotOnLink))
	b.Expect(Soliciting, "CONFIRM", "drop fd00::15", "SOLICIT")
	if got := b.asksFor(); got != "" {
		t.Errorf("it asks for %q, which is not of this link", got)
	}
}

func TestNobodyConfirms(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.m.LinkUp(b.Now)
	b.Sleep(10 * time.Second)
	b.Expect(Bound, "CONFIRM", "CONFIRM", "CONFIRM", "CONFIRM", "apply fd00::15 for fd00::15")
}

func TestLinkStaysAway(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.LinkDown()
	b.Sleep(time.Hour)
	b.Expect(NoLink, "drop fd00::15")
	b.m.LinkUp(b.Now)
	b.Expect(Soliciting, "SOLICIT")
}

func TestResume(t *testing.T) {
	b := newBench(t)
	b.bind()
	l := b.Applied
	b = newBench(t)
	b.m.Resume(l)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply)
	b.Expect(Bound, "CONFIRM", "apply fd00::15 for fd00::15")
}

func TestDuplicate(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.Duplicate(b.Now, netip.MustParseAddr("fd00::99")) // not ours
	b.Expect(Bound)
	b.m.Duplicate(b.Now, netip.MustParseAddr("fd00::15"))
	b.Expect(Declining, "drop fd00::15", "DECLINE")
	if b.asksFor() != "fd00::15" || b.sent.Options.ServerID() == nil {
		t.Errorf("DECLINE must name server and address: %s", b.sent.Summary())
	}
	b.answer(dhcpv6.MessageTypeReply, status(iana.StatusSuccess))
	b.Sleep(time.Second)
	b.Expect(Soliciting, "SOLICIT")
	if got := b.asksFor(); got != "" {
		t.Errorf("it asks for %q again", got)
	}
}

func TestServerOnlyHasDuplicates(t *testing.T) {
	b := newBench(t)
	b.m.LinkUp(b.Now)
	b.ExpectSlow(8, 2*time.Minute, func() {
		b.answer(dhcpv6.MessageTypeReply, rapid, grants)
		b.m.Duplicate(b.Now, netip.MustParseAddr("fd00::15"))
		b.answer(dhcpv6.MessageTypeReply)
	})
}

func TestDeclineUnanswered(t *testing.T) {
	b := newBench(t)
	b.bind()
	b.m.Duplicate(b.Now, netip.MustParseAddr("fd00::15"))
	b.Sleep(16 * time.Second)
	b.Expect(Soliciting, "drop fd00::15", "DECLINE", "DECLINE", "DECLINE", "DECLINE", "SOLICIT")
}

func TestAddressCannotBeUsed(t *testing.T) {
	b := newBench(t)
	b.ApplyErr = errors.New("no space")
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply, rapid, grants)
	b.Expect(Soliciting, "SOLICIT", "apply fd00::15")
	b.Sleep(time.Second)
	b.Expect(Soliciting, "SOLICIT")
}

func TestStateless(t *testing.T) {
	b := newStatelessBench(t)
	b.m.LinkUp(b.Now)
	b.Expect(Informing, "INFORMATION-REQUEST")
	if b.sent.Options.OneIANA() != nil {
		t.Error("it asks for an address")
	}
	b.answer(dhcpv6.MessageTypeReply)
	b.Expect(Bound, "apply the answer without addresses")
	b.Sleep(24*time.Hour - time.Second)
	b.Expect(Bound)
	b.Sleep(time.Second)
	b.Expect(Informing, "INFORMATION-REQUEST")
	b.Sleep(30 * time.Hour) // the answer of before is still the best there is
	b.ExpectOnly("INFORMATION-REQUEST")
}

func TestRefreshTime(t *testing.T) {
	for _, tc := range []struct{ said, want time.Duration }{
		{time.Hour, time.Hour},
		{time.Minute, 10 * time.Minute},
	} {
		b := newStatelessBench(t)
		b.m.LinkUp(b.Now)
		b.answer(dhcpv6.MessageTypeReply, with(dhcpv6.OptInformationRefreshTime(tc.said)))
		if got := b.m.Wake() - b.Now; got != tc.want {
			t.Errorf("with refresh time %s it asks again after %s, want %s", tc.said, got, tc.want)
		}
	}
	b := newStatelessBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply, with(dhcpv6.OptInformationRefreshTime(infinite)))
	b.Did = nil
	b.Sleep(1000 * time.Hour)
	b.Expect(Bound)
}

func TestStatelessAsksAfterLinkReturns(t *testing.T) {
	b := newStatelessBench(t)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply)
	b.m.LinkDown()
	b.m.LinkUp(b.Now)
	b.Expect(Informing, "INFORMATION-REQUEST", "apply the answer without addresses", "INFORMATION-REQUEST")
}

// The advertisements changed from M to O while the program was away, or back.
func TestResumeOfTheOtherKind(t *testing.T) {
	b := newBench(t)
	b.bind()
	l := b.Applied
	b = newStatelessBench(t)
	b.m.Resume(l)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply)
	b.Expect(Bound, "INFORMATION-REQUEST", "apply the answer without addresses for fd00::15")
	l = b.Applied
	b = newBench(t)
	b.m.Resume(l)
	b.m.LinkUp(b.Now)
	b.answer(dhcpv6.MessageTypeReply, rapid, grants)
	b.Expect(Bound, "SOLICIT", "apply fd00::15 for the answer without addresses")
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
