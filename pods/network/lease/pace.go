package lease

import "time"

// Pace says when something may happen that strangers can cause: a few times at once,
// and then every so often (the generic cell rate algorithm). It is not safe for
// concurrent use.
type Pace struct {
	Every time.Duration
	Burst int // how many times at once

	spent time.Duration // until then, the burst is not whole again
}

// Wait counts one more time, at once if it returns 0. Else that is not counted, and may
// be after so long.
func (p *Pace) Wait(now time.Duration) time.Duration {
	if early := p.spent - time.Duration(p.Burst-1)*p.Every; now < early {
		return early - now
	}
	p.spent = max(now, p.spent) + p.Every
	return 0
}
