package lease

import (
	"math"
	"time"
)

// Forever is an instant that never comes.
const Forever = time.Duration(math.MaxInt64)

// Times are the instants of a lease, on the clock of
// [kios/internal/boottime.Now]: wall-clock time jumps when a machine learns what
// year it is. A lease embeds them, so that they are fields of its JSON object.
type Times struct {
	Renew  time.Duration // T1: ask this server for more time
	Rebind time.Duration // T2: ask any server
	Expiry time.Duration // the lease must not be used any more
}

// longestSleep is how late an instant may be noticed after the machine was suspended.
const longestSleep = time.Minute

// Sleep returns for how long to sleep until an instant, which is to be looked at again
// then: timers stand still while a machine is suspended, and instants do not.
func Sleep(now, until time.Duration) time.Duration {
	return min(max(0, until-now), longestSleep)
}

// Instants returns the instants of the lease that embeds them.
func (t Times) Instants() Times { return t }

// Length says for how long the lease is still valid.
func (t Times) Length(now time.Duration) string {
	if t.Expiry == Forever {
		return "an unlimited time"
	}
	return (t.Expiry - now).Round(time.Second).String()
}
