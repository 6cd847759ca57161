// Package leasetest tries the state machines of DHCP clients without a network
// and without waiting.
package leasetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kios/pods/network/lease"
)

// Machine is a client's state machine.
type Machine[S comparable] interface {
	State() S
	Wake() time.Duration
	Tick(now time.Duration)
}

// Bench is a table for a machine, with a clock that the test moves and a record
// of what the machine did. It is the machine's lease.Outside.
type Bench[S comparable, L lease.Terms] struct {
	T        testing.TB
	Now      time.Duration
	Did      []string // since the last call of Expect
	Applied  L        // the latest lease
	ApplyErr error    // of Apply

	machine Machine[S]
}

// Place puts the machine on the table, a minute after the machine's start.
func (b *Bench[S, L]) Place(t testing.TB, m Machine[S]) {
	b.T, b.Now, b.machine = t, time.Minute, m
}

// Jitter stands for a random number: the one that changes nothing.
func Jitter() float64 { return 0.5 }

// Apply implements lease.Outside.
func (b *Bench[S, L]) Apply(l, old L) error {
	what := "apply " + l.String()
	var none L
	if old != none {
		what += " for " + old.String()
	}
	b.Note(what)
	b.Applied = l
	return b.ApplyErr
}

// Drop implements lease.Outside.
func (b *Bench[S, L]) Drop(l L) { b.Note("drop " + l.String()) }

// Note records something that the machine did.
func (b *Bench[S, L]) Note(what string) { b.Did = append(b.Did, what) }

// Expect checks the state and what happened since it was called last.
func (b *Bench[S, L]) Expect(state S, did ...string) {
	b.T.Helper()
	if got := b.machine.State(); got != state {
		b.T.Errorf("state = %v, want %v", got, state)
	}
	if diff := cmp.Diff(did, b.Did); diff != "" {
		b.T.Errorf("what happened, want -, got +:\n%s", diff)
	}
	b.Did = nil
}

// Sleep moves the clock, calling Tick when the machine wants it.
func (b *Bench[S, L]) Sleep(d time.Duration) {
	end := b.Now + d
	for b.machine.Wake() <= end {
		b.wake()
	}
	b.Now = end
}

func (b *Bench[S, L]) wake() {
	b.Now = max(b.Now, b.machine.Wake())
	b.machine.Tick(b.Now)
}

// ExpectWakes checks after how many seconds the machine wakes up while nothing
// happens.
func (b *Bench[S, L]) ExpectWakes(want ...time.Duration) {
	b.T.Helper()
	start := b.Now
	var at []time.Duration
	for range want {
		b.wake()
		at = append(at, (b.Now-start)/time.Second)
	}
	if diff := cmp.Diff(want, at); diff != "" {
		b.T.Errorf("seconds of the repetitions, want -, got +:\n%s", diff)
	}
}

// ExpectSlow checks that so many attempts, which all fail, take at least that long
// together.
func (b *Bench[S, L]) ExpectSlow(attempts int, least time.Duration, attempt func()) {
	b.T.Helper()
	start := b.Now
	for range attempts {
		attempt()
		b.Sleep(b.machine.Wake() - b.Now)
	}
	if took := b.Now - start; took < least {
		b.T.Errorf("%d attempts took %s, want at least %s", attempts, took, least)
	}
}

// ExpectOnly checks that all that happened since Expect was called last is this.
func (b *Bench[S, L]) ExpectOnly(act string) {
	b.T.Helper()
	for _, did := range b.Did {
		if did != act {
			b.T.Errorf("it did %q, want nothing but %q", did, act)
		}
	}
	b.Did = nil
}
