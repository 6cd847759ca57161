package boot

import (
	"fmt"
	"sync"
	"time"
)

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

// strangersQuiet is how long nothing is logged after a line that a pod has caused.
const strangersQuiet = time.Second

// pacedLog logs what pods cause, who may do it as often as they like. Several
// goroutines may use it. Each format has a pace of its own. The zero value is ready.
type pacedLog struct {
	mu    sync.Mutex
	lines map[string]*pacedLine // by format: these are the program's own, so they are few
}

type pacedLine struct {
	pace
	left int // lines since the last one that was logged
}

// to logs a line with log, unless it is too soon. The next one tells how many were left
// out.
func (p *pacedLog) to(log func(string, ...any), format string, args ...any) {
	left, ok := p.turn(format)
	if !ok {
		return
	}
	text := fmt.Sprintf(format, args...)
	if left > 0 {
		text += fmt.Sprintf(" (and %d more such lines before)", left)
	}
	log("%s", text)
}

func (p *pacedLog) turn(format string) (left int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lines == nil {
		p.lines = map[string]*pacedLine{}
	}
	line := p.lines[format]
	if line == nil {
		line = &pacedLine{}
		p.lines[format] = line
	}
	if !line.allows(strangersQuiet) {
		line.left++
		return 0, false
	}
	left, line.left = line.left, 0
	return left, true
}
