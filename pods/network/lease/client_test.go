package lease_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"kios/pods/network/lease"
	"kios/pods/network/leasetest"
)

// state is a state of a protocol with one exchange of messages.
type state int

const (
	noLink state = iota
	asking
	bound
	renewing
)

type terms struct {
	name string
	lease.Times
}

func (l *terms) String() string { return l.name }

type bench struct {
	leasetest.Bench[state, *terms]
	c *lease.Client[state, *terms]
}

func newBench(t *testing.T) *bench {
	b := &bench{}
	b.c = lease.NewClient[state, *terms](lease.Protocol[state]{
		Bound:  bound,
		Spread: 0.1,
		Start:  func() state { return asking },
		Begin:  func(time.Duration) { b.Note("begin") },
		Send:   func(time.Duration) { b.Note("send") },
		Wait:   func(time.Duration) time.Duration { return time.Second },
		Due:    b.due,
	}, b, t.Logf)
	b.c.Jitter = leasetest.Jitter
	b.Place(t, b.c)
	return b
}

func (b *bench) due(now time.Duration) {
	if b.c.State() == bound {
		b.c.Enter(renewing, now)
		return
	}
	b.c.Transmit(now)
}

// grant returns a lease of an hour.
func (b *bench) grant(name string) *terms {
	return &terms{name, lease.Times{Renew: b.Now + 30*time.Minute, Expiry: b.Now + time.Hour}}
}

func TestLeaseLivesAndExpires(t *testing.T) {
	b := newBench(t)
	if b.c.Wake() != lease.Forever {
		t.Errorf("without a link, Wake = %s, want Forever", b.c.Wake())
	}
	b.c.Enter(asking, b.Now)
	b.Sleep(time.Second)
	b.Expect(asking, "begin", "send", "send")
	b.c.Use(b.Now, b.grant("a"))
	b.Expect(bound, "apply a")
	b.Sleep(30 * time.Minute)
	b.Expect(renewing, "begin", "send")
	b.c.Use(b.Now, b.grant("b"))
	b.Expect(bound, "apply b for a")
	b.c.LinkDown()
	b.Sleep(time.Hour - time.Second)
	b.Expect(noLink)
	b.Sleep(time.Second)
	b.Expect(noLink, "drop b")
	if b.c.Lease() != nil {
		t.Errorf("after its end, the lease is %s", b.c.Lease())
	}
}

func TestDropStartsOver(t *testing.T) {
	b := newBench(t)
	b.c.Enter(asking, b.Now)
	b.c.Use(b.Now, b.grant("a"))
	b.c.Drop(b.Now, "a test wants it so")
	b.Expect(asking, "begin", "send", "apply a", "drop a", "begin", "send")
}

// Each failure makes the next pause longer, up to a limit, until something
// succeeds.
func TestRestartBacksOff(t *testing.T) {
	b := newBench(t)
	b.ApplyErr = errors.New("no space")
	pause := func() time.Duration {
		if b.c.Use(b.Now, b.grant("a")) {
			t.Error("Use reports success")
		}
		b.Did = nil
		return b.c.Wake() - b.Now
	}
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 64} {
		if got := pause(); got != want*time.Second {
			t.Errorf("pause = %s, want %ds", got, want)
		}
		b.Expect(asking)
	}
	b.c.Succeed()
	if got := pause(); got != time.Second {
		t.Errorf("pause after a success = %s, want 1s", got)
	}
	b.c.Jitter = func() float64 { return 1 }
	if got, want := b.c.Backoff(2), 4400*time.Millisecond; got != want {
		t.Errorf("Backoff(2) with the highest deviation = %s, want %s", got, want)
	}
}

// However much of a lease is of no use, and however often it is renewed, there is one
// line about it.
func TestMention(t *testing.T) {
	b := newBench(t)
	var lines []string
	b.c.Log = func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	var faults lease.Faults
	for n := range 1000 {
		faults.Add("fault %d", n)
	}
	for range 3 {
		b.c.Mention("the server", faults)
	}
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "not all that the server says can be used: fault 0; fault 1;") || len(lines[0]) > 200 {
		t.Errorf("it says %q", lines)
	}
	b.c.Mention("the server", nil)
	b.c.Mention("the server", faults)
	if len(lines) != 2 {
		t.Errorf("after a lease without faults there are %d lines, want 2", len(lines))
	}
}
