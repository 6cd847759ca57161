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

// Instants returns the instants of the lease that embeds them.
func (t Times) Instants() Times { return t }

// Length says for how long the lease is still valid.
func (t Times) Length(now time.Duration) string {
	if t.Expiry == Forever {
		return "an unlimited time"
	}
	return (t.Expiry - now).Round(time.Second).String()
}
