package ndisc

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"kios/pods/network/dnsname"
	"kios/pods/network/lease"
	"kios/test/lab"
)

// bench is a table, a clock that the test moves, and what happened.
type bench struct {
	t     *testing.T
	table table
	now   time.Duration
	asked int
	err   error // of a solicitation
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, now: time.Minute}
	b.table.solicit = func(int) error { b.asked++; return b.err }
	return b
}

// eth0 is an interface on which advertisements are heeded.
func eth0() link {
	return link{index: 2, name: "eth0", up: true, carrier: true, ipv6: true, accepts: true}
}

// sleep moves the clock, calling tick when the table wants it.
func (b *bench) sleep(d time.Duration) {
	end := b.now + d
	for b.table.wake() <= end {
		b.now = max(b.now, b.table.wake())
		b.table.tick(b.now)
	}
	b.now = end
}

// list is a dump with the given interfaces.
func (b *bench) list(links ...link) {
	b.table.begin()
	for _, l := range links {
		b.table.link(l, b.now)
	}
	b.table.end(b.now)
	b.table.tick(b.now)
}

func (b *bench) option(lifetime time.Duration, servers []string, domains ...string) {
	o := option{index: 2, lifetime: lifetime, domains: domains}
	for _, s := range servers {
		o.servers = append(o.servers, netip.MustParseAddr(s))
	}
	b.table.option(o, b.now)
	b.table.tick(b.now)
}

func (b *bench) expect(want ...Event) {
	b.t.Helper()
	if got := b.table.changed(); got != (len(want) > 0) {
		b.t.Errorf("changed() = %v with %d events to come", got, len(want))
	}
	compare := cmpopts.EquateComparable(netip.Addr{})
	if diff := cmp.Diff(want, b.table.take(), compare, cmpopts.EquateEmpty()); diff != "" {
		b.t.Errorf("events, want -, got +:\n%s", diff)
	}
}

func (b *bench) expectAsked(want int) {
	b.t.Helper()
	if b.asked != want {
		b.t.Errorf("solicitations = %d, want %d", b.asked, want)
	}
	b.asked = 0
}

func servers(expiry time.Duration, addrs ...string) []Server {
	var list []Server
	for _, a := range addrs {
		list = append(list, Server{netip.MustParseAddr(a), expiry})
	}
	return list
}

func TestFlags(t *testing.T) {
	b := newBench(t)
	b.list(eth0())
	b.expect()
	l := eth0()
	l.managed, l.other = true, true
	b.table.link(l, b.now)
	b.expect(Event{Index: 2, Managed: true, Other: true})
	b.table.link(l, b.now)
	b.expect()
	l.ipv6, l.managed = false, false // a message that says nothing about IPv6
	b.table.link(l, b.now)
	b.expect()
	l.up = false
	b.table.link(l, b.now)
	b.expect(Event{Index: 2})
}

func TestEntriesExpire(t *testing.T) {
	b := newBench(t)
	b.list(eth0())
	b.option(10*time.Second, []string{"fd00::1", "fe80::1"})
	b.option(20*time.Second, nil, "a.example")
	at := b.now
	search := []Domain{{"a.example", at + 20*time.Second}}
	b.expect(Event{Index: 2, DNS: servers(at+10*time.Second, "fd00::1", "fe80::1%eth0"), Search: search})

	b.sleep(5 * time.Second)
	b.option(10*time.Second, []string{"fd00::1"})
	both := append(servers(at+15*time.Second, "fd00::1"), servers(at+10*time.Second, "fe80::1%eth0")...)
	b.expect(Event{Index: 2, DNS: both, Search: search})
	b.sleep(5 * time.Second)
	b.expect(Event{Index: 2, DNS: both[:1], Search: search})
	b.sleep(5 * time.Second)
	b.expect(Event{Index: 2, Search: search})
	b.sleep(5 * time.Second)
	b.expect(Event{Index: 2})
	if got := b.table.wake(); got != lease.Forever {
		t.Errorf("wake = %s with nothing to do, want for ever", got)
	}
}

// The kernel tells of servers and domains once. What was known before a restart is
// known after it, and other routers' entries are there beside it.
func TestKnownBeforeARestart(t *testing.T) {
	b := newBench(t)
	before := Event{Index: 2, Managed: true, DNS: append(servers(b.now+time.Minute, "fd00::1"), servers(b.now, "fd00::9")...),
		Search: []Domain{{"a.example", b.now + time.Minute}}}
	b.table.known = map[int]Event{2: before, 3: {Index: 3, DNS: before.DNS}}
	b.list(eth0())
	want := Event{Index: 2, DNS: before.DNS[:1], Search: before.Search}
	b.expect(want)
	b.option(time.Hour, []string{"fd00::2"})
	want.DNS = append(servers(b.now+time.Minute, "fd00::1"), servers(b.now+time.Hour, "fd00::2")...)
	b.expect(want)
	b.sleep(time.Minute)
	b.expect(Event{Index: 2, DNS: want.DNS[1:]})

	b.table.link(eth0(), b.now)
	b.expect()
	down := eth0()
	down.index, down.up = 3, false
	b.table.link(down, b.now)
	b.expect(Event{Index: 3}) // the kernel has forgotten everything, too
}

func TestRouterTakesEntriesBack(t *testing.T) {
	b := newBench(t)
	b.list(eth0())
	b.option(lease.Forever, []string{"fd00::1", "fd00::2"}, "a.example", "b.example")
	b.option(0, []string{"fd00::1"}, "b.example")
	b.expect(Event{Index: 2, DNS: servers(lease.Forever, "fd00::2"), Search: []Domain{{"a.example", lease.Forever}}})
}

// An event that was sent must not change under its reader.
func TestEventsDoNotShare(t *testing.T) {
	b := newBench(t)
	b.list(eth0())
	b.option(time.Minute, []string{"fd00::1", "fd00::2"})
	e := b.table.take()[0]
	b.option(0, []string{"fd00::1"})
	b.option(time.Hour, []string{"fd00::2"})
	want := servers(b.now+time.Minute, "fd00::1", "fd00::2")
	if diff := cmp.Diff(want, e.DNS, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("an earlier event changed, want -, got +:\n%s", diff)
	}
}

func TestListsStayShort(t *testing.T) {
	b := newBench(t)
	b.list(eth0())
	for n := range 100 {
		b.option(time.Hour+time.Duration(n)*time.Second, []string{fmt.Sprintf("fd00::%d", n)}, fmt.Sprintf("d%d.example", n))
	}
	e := b.table.take()[0]
	if len(e.DNS) != limit || len(e.Search) != limit {
		t.Fatalf("there are %d servers and %d domains, want %d", len(e.DNS), len(e.Search), limit)
	}
	if got := e.DNS[0].Addr.String(); got != "fd00::84" {
		t.Errorf("the first server left is %s, want fd00::84: those that expire first go first", got)
	}
}

func TestSolicits(t *testing.T) {
	b := newBench(t)
	b.list(eth0())
	b.expectAsked(1)
	b.sleep(8 * time.Second)
	b.expectAsked(2)
	b.expect()
	b.sleep(4 * time.Second)
	b.expect() // nobody answers
	b.sleep(time.Hour)
	b.expectAsked(0)

	down := eth0()
	down.carrier = false
	b.table.link(down, b.now)
	b.sleep(time.Hour)
	b.expectAsked(0)
	b.table.link(eth0(), b.now)
	b.sleep(0)
	b.expectAsked(1)
	b.option(time.Minute, nil)
	b.sleep(time.Hour)
	b.expectAsked(0) // it was answered

	b.list(eth0()) // messages were lost
	b.expectAsked(1)
	b.table.link(down, b.now)
	b.sleep(time.Hour)
	b.expectAsked(0)
}

func TestDoesNotSolicitWhereItIsIgnored(t *testing.T) {
	b := newBench(t)
	l := eth0()
	l.accepts = false
	b.list(l)
	b.sleep(time.Hour)
	b.expectAsked(0)
}

func TestLeavesSolicitingToTheKernel(t *testing.T) {
	b := newBench(t)
	b.err = fmt.Errorf("sendto: %w", unix.EADDRNOTAVAIL)
	b.list(eth0())
	b.sleep(time.Hour)
	b.expectAsked(1)
}

func TestInterfaceGoes(t *testing.T) {
	b := newBench(t)
	other := eth0()
	other.index, other.name = 3, "eth1"
	b.list(eth0(), other)
	b.option(time.Hour, []string{"fd00::1"})
	b.expect(Event{Index: 2, DNS: servers(b.now+time.Hour, "fd00::1")})
	b.list(other) // its end was among the messages that were lost
	b.expect(Event{Index: 2})
	gone := other
	gone.gone = true
	b.table.link(gone, b.now)
	b.table.take()
	if len(b.table.links) != 0 || b.table.changed() {
		t.Errorf("the table still holds %d interfaces", len(b.table.links))
	}
	b.option(time.Hour, []string{"fd00::1"}) // for one that is not known
	b.expect()
}

// userOption returns the body of RTM_NEWNDUSEROPT with the option in hex.
func userOption(t testing.TB, hexOption string) []byte {
	raw, err := hex.DecodeString(hexOption)
	lab.Must(t, err)
	body := make([]byte, userOptionHeader)
	body[0], body[8] = unix.AF_INET6, routerAdvert
	binary.NativeEndian.PutUint16(body[2:], uint16(len(raw)))
	binary.NativeEndian.PutUint32(body[4:], 2)
	return append(body, raw...)
}

const (
	rdnss = "1905000000000e10" + "fd000000000000000000000000000053" + "fe800000000000000000000000000001"
	dnssl = "1f04000000000e10" + "0161076578616d706c6500" + "076578616d706c6500" + "00000000"
)

func TestParseOption(t *testing.T) {
	for _, tc := range []struct {
		what, hex string
		want      option
	}{
		{"servers", rdnss, option{index: 2, lifetime: time.Hour,
			servers: []netip.Addr{netip.MustParseAddr("fd00::53"), netip.MustParseAddr("fe80::1")}}},
		{"domains", dnssl, option{index: 2, lifetime: time.Hour, domains: []string{"a.example", "example"}}},
		{"for ever", "19030000ffffffff" + "fd000000000000000000000000000053", option{index: 2, lifetime: lease.Forever,
			servers: []netip.Addr{netip.MustParseAddr("fd00::53")}}},
		{"no longer", "1903000000000000" + "fd000000000000000000000000000053", option{index: 2,
			servers: []netip.Addr{netip.MustParseAddr("fd00::53")}}},
		{"addresses that are none", "1909000000000000" + "ff020000000000000000000000000001" + "00000000000000000000000000000000" +
			"00000000000000000000000000000001" + "00000000000000000000ffff01020304", option{index: 2}},
		{"a domain with a space and one cut off", "1f03000000000000" + "03612062000161002061626300000000", option{index: 2, domains: []string{"a"}}},
		{"names without end", "1f080000ffffffff" + strings.Repeat("016100", 18) + "0000", option{index: 2, lifetime: lease.Forever,
			domains: slices.Repeat([]string{"a"}, 18)}},
		{"another option", "2601000000000000", option{index: 2}},
	} {
		got, ok := parseOption(userOption(t, tc.hex))
		if !ok {
			t.Errorf("%s: not read", tc.what)
		}
		if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(option{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s, want -, got +:\n%s", tc.what, diff)
		}
	}
}

func FuzzParseOption(f *testing.F) {
	f.Add(userOption(f, rdnss))
	f.Add(userOption(f, dnssl))
	f.Add(userOption(f, "1fff000000000000"+strings.Repeat("0161", 500)+"00"+strings.Repeat("c000", 515)+"00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var o option
		if took := lab.Allocated(func() { o, _ = parseOption(body) }); took > 256<<10 {
			t.Errorf("an option of %d bytes became %d", len(body), took)
		}
		for _, d := range o.domains {
			if !dnsname.Valid(d) {
				t.Errorf("domain %q", d)
			}
		}
	})
}

// FuzzParseLink feeds what the kernel says about interfaces: names come from users.
func FuzzParseLink(f *testing.F) {
	f.Add(uint16(unix.RTM_NEWLINK), make([]byte, unix.SizeofIfInfomsg))
	f.Add(uint16(unix.RTM_DELLINK), append(make([]byte, unix.SizeofIfInfomsg), 8, 0, 3, 0, 'a', 'b', 'c', 0))
	f.Add(uint16(unix.RTM_NEWLINK), append(make([]byte, unix.SizeofIfInfomsg), 12, 0, 26, 128, 8, 0, 10, 0, 4, 0, 1, 0))
	f.Add(uint16(unix.RTM_NEWLINK), append(make([]byte, unix.SizeofIfInfomsg), 11, 0, 26, 128, 6, 0, 48, 48, 48, 48, 48)) // without padding
	f.Fuzz(func(t *testing.T, kind uint16, data []byte) {
		m := syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind}, Data: data}
		if took := lab.Allocated(func() { parseLink(m) }); took > 64<<10+32*uint64(len(data)) {
			t.Errorf("a message of %d bytes became %d", len(data), took)
		}
	})
}

func TestSolicitation(t *testing.T) {
	got := hex.EncodeToString(solicitation([]byte{0x52, 0x54, 0, 0x12, 0x34, 0x56}))
	if want := "85000000" + "00000000" + "0101525400123456"; got != want {
		t.Errorf("solicitation = %s, want %s", got, want)
	}
}
