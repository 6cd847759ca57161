package boot

import "time"

// pace bounds how often something is logged that others cause. One goroutine uses it.
// The zero value lets the first through.
type pace struct{ last time.Time }

// allows reports whether it is time again.
func (p *pace) allows(quiet time.Duration) bool {
	if !p.last.IsZero() && time.Since(p.last) < quiet {
		return false
	}
	p.last = time.Now()
	return true
}
