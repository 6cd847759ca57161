package lease

import (
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	firstPause   = time.Second
	longestPause = 64 * time.Second

	complainAfter = 15 * time.Second // of asking in vain
	mostIgnored   = 3                // answers to a message that are mentioned
)

// Terms is the type of a protocol's leases: a pointer. The zero value, nil, is no
// lease.
type Terms interface {
	comparable
	fmt.Stringer // the addresses, for messages
	Instants() Times
}

// Outside is what a Client acts on.
type Outside[L Terms] interface {
	// Apply brings a lease into use in place of old, which is nil for a first
	// one. It is called again with later instants for each renewal, and with a
	// lease that was resumed once that is known to be good. After an error the
	// client looks for another lease.
	Apply(l, old L) error
	// Drop takes a lease out of use.
	Drop(l L)
}

// Protocol is what a protocol adds to a Client. S is its type of states, whose
// zero value is the one without a link.
type Protocol[S ~int] struct {
	Bound  S                                     // the state with a lease and nothing to do
	Spread float64                               // how far pauses deviate: 0.1 is up to a tenth, more or less
	Start  func() S                              // the state that looks for a server
	Begin  func(now time.Duration)               // prepares an exchange of messages
	Send   func(now time.Duration)               // sends the message of the state
	Wait   func(now time.Duration) time.Duration // for how long to wait for an answer to it
	Due    func(now time.Duration)               // what to do when the time of Wake has come
}

// Client is a client's state machine without what is particular to a protocol. It
// does nothing by itself: the caller tells it what happened and when, and calls
// Tick no later than Wake. It is not safe for concurrent use.
type Client[S ~int, L Terms] struct {
	Log    func(format string, args ...any)
	Jitter func() float64 // a random number from 0 to 1

	protocol Protocol[S]
	outside  Outside[L]
	state    S
	lease    L             // in use, or remembered and not expired
	tries    int           // messages sent in this exchange
	ignored  int           // answers to the latest of them that were of no use
	faults   Faults        // of the latest lease
	patience time.Duration // for how long to ask in vain before the next complaint
	setbacks int           // attempts in a row that came to nothing after an offer
	wake     time.Duration // when the protocol is due
}

// NewClient returns a client without a link and without a lease.
func NewClient[S ~int, L Terms](p Protocol[S], o Outside[L], log func(format string, args ...any)) *Client[S, L] {
	return &Client[S, L]{Log: log, Jitter: rand.Float64, protocol: p, outside: o}
}

// State returns the state that the client is in.
func (c *Client[S, L]) State() S { return c.state }

// Lease returns the lease that is in use, or remembered, or nil.
func (c *Client[S, L]) Lease() L { return c.lease }

// Tries returns how many messages were sent in this exchange.
func (c *Client[S, L]) Tries() int { return c.tries }

// Resume makes the client remember a lease from before a restart.
func (c *Client[S, L]) Resume(l L) { c.lease = l }

// Wake returns when Tick is to be called next.
func (c *Client[S, L]) Wake() time.Duration {
	wake := c.wake
	if c.state == 0 {
		wake = Forever
	}
	if c.hasLease() {
		wake = min(wake, c.lease.Instants().Expiry)
	}
	return wake
}

// Tick does what is due.
func (c *Client[S, L]) Tick(now time.Duration) {
	switch {
	case c.hasLease() && now >= c.lease.Instants().Expiry:
		c.Drop(now, "the lease expired")
	case now >= c.Wake():
		c.protocol.Due(now)
	}
}

// LinkDown says that the interface cannot send any more. The lease stays in use
// until it expires: most links come back.
func (c *Client[S, L]) LinkDown() { c.state = 0 }

// Use brings a lease into use, which may be the one that is in use, and waits for
// the time to renew it. It reports false if that failed, and starts over then.
func (c *Client[S, L]) Use(now time.Duration, l L) bool {
	if err := c.outside.Apply(l, c.lease); err != nil {
		c.Restart(now, fmt.Sprintf("cannot use %s: %v", l, err))
		return false
	}
	c.lease, c.state, c.wake = l, c.protocol.Bound, l.Instants().Renew
	return true
}

// Succeed says that the latest attempt came to something.
func (c *Client[S, L]) Succeed() { c.setbacks = 0 }

// Drop takes the lease out of use and, with a link, starts over.
func (c *Client[S, L]) Drop(now time.Duration, reason string) {
	c.Log("giving up %s: %s", c.lease, reason)
	c.Discard()
	if c.state != 0 {
		c.Enter(c.protocol.Start(), now)
	}
}

// Discard takes the lease out of use.
func (c *Client[S, L]) Discard() {
	var none L
	l := c.lease
	c.lease = none
	c.outside.Drop(l)
}

// Restart starts over after an attempt came to nothing, each time later: a server
// that offers and then refuses would otherwise be asked without a pause.
func (c *Client[S, L]) Restart(now time.Duration, reason string) {
	pause := c.Backoff(c.setbacks)
	c.setbacks++
	c.RestartAfter(now, pause, reason)
}

// RestartAfter starts over after a pause that the protocol asks for.
func (c *Client[S, L]) RestartAfter(now, pause time.Duration, reason string) {
	c.Log("%s; starting over in %s", reason, pause.Round(100*time.Millisecond))
	c.begin(c.protocol.Start(), now)
	c.wake = now + pause
}

// Enter begins the exchange of messages of a state.
func (c *Client[S, L]) Enter(s S, now time.Duration) {
	c.begin(s, now)
	c.Transmit(now)
}

func (c *Client[S, L]) begin(s S, now time.Duration) {
	c.state, c.tries, c.patience = s, 0, complainAfter
	c.protocol.Begin(now)
}

// Continue goes on with a state in the exchange of the one before.
func (c *Client[S, L]) Continue(s S, now time.Duration) {
	c.state, c.tries = s, 0
	c.Transmit(now)
}

// Transmit sends the message of the state, and waits for an answer.
func (c *Client[S, L]) Transmit(now time.Duration) {
	c.ignored = 0
	c.protocol.Send(now)
	c.wake = now + c.protocol.Wait(now)
	c.tries++
}

// Complain says that nobody has answered for so long, less and less often: on a
// network without a server that goes on for ever.
func (c *Client[S, L]) Complain(server string, elapsed time.Duration) {
	if elapsed < c.patience {
		return
	}
	c.patience = 2 * elapsed
	c.Log("no %s server has answered for %s, still asking", server, elapsed.Round(time.Second))
}

// Ignore says why an answer is of no use. Whoever sends many of them does not fill
// the log.
func (c *Client[S, L]) Ignore(format string, args ...any) {
	if c.ignored++; c.ignored <= mostIgnored {
		c.Log("ignoring an answer "+format, args...)
	}
}

// Backoff returns a pause of 1, 2, 4 ... 64 seconds after so many failures, with a
// deviation.
func (c *Client[S, L]) Backoff(failures int) time.Duration {
	pause := min(firstPause<<min(failures, 16), longestPause)
	return pause + time.Duration(c.Deviation()*float64(pause))
}

// Deviation returns by which part of it to change a pause, so that machines that
// boot together do not stay in step.
func (c *Client[S, L]) Deviation() float64 {
	return (c.Jitter() - 0.5) * 2 * c.protocol.Spread
}

func (c *Client[S, L]) hasLease() bool {
	var none L
	return c.lease != none
}
