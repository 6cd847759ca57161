// Package ratelimit bounds how often something happens that strangers can cause.
package ratelimit

import "time"

// Limit says when it may happen: a few times at once, and then every so often (the
// generic cell rate algorithm). It is not safe for concurrent use.
type Limit struct {
	Every time.Duration
	Burst int // how many times at once

	spent time.Duration // until then, the burst is not whole again
}

// Wait counts one more time, at once if it returns 0. Else that is not counted, and may
// be after so long. Instants are those of one clock, such as boottime.Now.
func (l *Limit) Wait(now time.Duration) time.Duration {
	if early := l.spent - time.Duration(l.Burst-1)*l.Every; now < early {
		return early - now
	}
	l.spent = max(now, l.spent) + l.Every
	return 0
}
