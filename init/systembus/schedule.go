package systembus

import (
	"strings"
	"time"

	"kios/internal/unixsocket"
)

// plan is a shutdown at some time.
type plan struct {
	kind string // as the client gave it, "" for none
	at   time.Time
	stop chan struct{} // closed when it is cancelled
}

func (p *plan) cancel() {
	if p.kind != "" {
		close(p.stop)
	}
	*p = plan{}
}

func (p *plan) microseconds() uint64 {
	if p.kind == "" {
		return 0
	}
	return uint64(p.at.UnixMicro())
}

// pollClock is how often the clock is read: it may be set meanwhile.
const pollClock = 5 * time.Second

// wait returns false if the plan was cancelled.
func (p plan) wait() bool {
	for {
		left := time.Until(p.at) // by the clock on the wall: at has no other
		if left <= 0 {
			return true
		}
		select {
		case <-p.stop:
			return false
		case <-time.After(min(left, pollClock)):
		}
	}
}

// schedule plans a shutdown. Its arguments are what to do and when, in microseconds
// since 1970. A kind that begins with "dry-" is only logged when its time comes.
func (g *login) schedule(c *client, args []any) ([]any, error) {
	kind, at := args[0].(string), args[1].(uint64)
	name, dry := strings.CutPrefix(kind, "dry-")
	a := Action(name)
	if a != PowerOff && a != Reboot && a != Halt {
		return nil, fault(notSupported, "%.40q cannot be scheduled; what can: poweroff reboot halt", kind)
	}
	if at > 1<<62 {
		return nil, fault(invalidArgs, "%d microseconds since 1970 is too far away", at)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.requested {
		return nil, fault(inProgress, "the machine is being stopped already")
	}
	g.plan.cancel()
	g.plan = plan{kind, time.UnixMicro(int64(at)), make(chan struct{})}
	cause := c.String()
	g.server.host.Log.Notice("%s is planned for %s, as %s asks", kind, g.plan.at.UTC().Format(time.DateTime), cause)
	go g.carryOut(g.plan, a, dry, "the plan of "+cause)
	return nil, nil
}

// carryOut waits for the time of a plan.
func (g *login) carryOut(p plan, a Action, dry bool, cause string) {
	defer unixsocket.Recover(g.server.warn)
	if !p.wait() {
		return
	}
	g.mu.Lock()
	if g.plan.stop != p.stop { // cancelled, or replaced, just now
		g.mu.Unlock()
		return
	}
	g.plan.cancel()
	g.mu.Unlock()
	if dry {
		g.server.host.Log.Notice("now would be the time for %s, as %s asks", a, cause)
		return
	}
	if err := g.claim(false); err != nil {
		g.server.host.Log.Warn("%s, which was planned for now, is given up: %v", a, err)
		return
	}
	g.server.host.Stop(a, cause)
}

func (g *login) cancel(c *client, _ []any) ([]any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	planned := g.plan.kind != ""
	if planned {
		g.server.host.Log.Notice("%s is not planned any more, as %s asks", g.plan.kind, c)
	}
	g.plan.cancel()
	return []any{planned}, nil
}
