package systembus

import (
	"slices"
	"strings"
	"sync"
	"time"

	"kios/init/dbuswire"
	"kios/internal/consoleline"
)

const (
	loginName    = "org.freedesktop.login1"
	loginPath    = dbuswire.ObjectPath("/org/freedesktop/login1")
	loginManager = "org.freedesktop.login1.Manager"
)

// inhibitDelay is how long clients may delay a shutdown, as they are told, in
// microseconds. In fact the node decides. A kubelet that is told less than it wants
// writes logind's configuration and then waits for logind to read it, three seconds
// at each start. A day is more than it wants.
const inhibitDelay = uint64(24 * time.Hour / time.Microsecond)

// skipInhibitors is the flag of PowerOffWithFlags and the like to ignore locks of
// the mode block (SD_LOGIND_SKIP_INHIBITORS).
const skipInhibitors = uint64(1 << 4)

// login is org.freedesktop.login1: who is told of a shutdown, and who requests one.
type login struct {
	server *Server

	mu        sync.Mutex
	locks     []*Lock
	requested bool   // a shutdown, or it has begun
	preparing Action // it has begun, with this end
	plan      plan   // what ScheduleShutdown was told
}

// PrepareForShutdown tells the clients that the machine is being stopped. From
// here on nobody takes new locks.
func (s *Server) PrepareForShutdown(a Action) {
	s.login.mu.Lock()
	s.login.requested, s.login.preparing = true, a
	s.login.plan.cancel()
	s.login.mu.Unlock()
	kind := map[Action]string{PowerOff: "power-off", Reboot: "reboot", Halt: "halt"}[a]
	v := s.service(loginName)
	s.emit(v, loginPath, loginManager, "PrepareForShutdown", "b", true)
	s.emit(v, loginPath, loginManager, "PrepareForShutdownWithMetadata", "ba{sv}", true,
		[]any{[]any{"type", dbuswire.Variant{Type: "s", Value: kind}}})
}

// Delays returns the locks of those who want to be waited for.
func (s *Server) Delays() []*Lock { return s.login.held("delay") }

func (g *login) held(mode string) []*Lock {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []*Lock
	for _, l := range g.locks {
		if l.holds("shutdown", mode) {
			found = append(found, l)
		}
	}
	return found
}

func (g *login) objects() []object {
	none := func(*client, []any) ([]any, error) { return []any{[]any{}}, nil }
	can := func(answer string) func(*client, []any) ([]any, error) {
		return func(c *client, _ []any) ([]any, error) {
			if answer == "yes" && c.uid != g.server.root {
				return []any{"no"}, nil
			}
			return []any{answer}, nil
		}
	}
	manager := iface{
		name: loginManager,
		methods: []method{
			{"Inhibit", "ssss", "h", true, g.inhibit},
			{"ListInhibitors", "", "a(ssssuu)", false, g.listInhibitors},
			{"PowerOff", "b", "", true, g.stop(PowerOff)},
			{"PowerOffWithFlags", "t", "", true, g.stop(PowerOff)},
			{"Reboot", "b", "", true, g.stop(Reboot)},
			{"RebootWithFlags", "t", "", true, g.stop(Reboot)},
			{"Halt", "b", "", true, g.stop(Halt)},
			{"HaltWithFlags", "t", "", true, g.stop(Halt)},
			{"CanPowerOff", "", "s", false, can("yes")},
			{"CanReboot", "", "s", false, can("yes")},
			{"CanHalt", "", "s", false, can("yes")},
			{"CanSuspend", "", "s", false, can("na")},
			{"CanHibernate", "", "s", false, can("na")},
			{"CanHybridSleep", "", "s", false, can("na")},
			{"CanSuspendThenHibernate", "", "s", false, can("na")},
			{"CanRebootToFirmwareSetup", "", "s", false, can("na")},
			{"ScheduleShutdown", "st", "", true, g.schedule},
			{"CancelScheduledShutdown", "", "b", true, g.cancel},
			{"SetWallMessage", "sb", "", true, g.wall},
			{"ListSessions", "", "a(susso)", false, none},
			{"ListUsers", "", "a(uso)", false, none},
			{"ListSeats", "", "a(so)", false, none},
			{"GetSession", "s", "o", false, g.nobody("NoSuchSession", "session")},
			{"GetSessionByPID", "u", "o", false, g.nobody("NoSessionForPID", "session of process")},
			{"GetUser", "u", "o", false, g.nobody("NoSuchUser", "user who is logged in as")},
			{"GetUserByPID", "u", "o", false, g.nobody("NoUserForPID", "user of process")},
			{"GetSeat", "s", "o", false, g.nobody("NoSuchSeat", "seat")},
		},
		properties: g.properties(),
		signals: []signal{
			{"PrepareForShutdown", "b"}, {"PrepareForShutdownWithMetadata", "ba{sv}"}, {"PrepareForSleep", "b"},
			{"SessionNew", "so"}, {"SessionRemoved", "so"}, {"UserNew", "uo"}, {"UserRemoved", "uo"}, {"SeatNew", "so"}, {"SeatRemoved", "so"},
		},
	}
	return []object{{loginPath, []iface{manager}}}
}

func (g *login) properties() []property {
	return []property{
		{"BlockInhibited", "s", func() any { return g.inhibited("block") }},
		{"DelayInhibited", "s", func() any { return g.inhibited("delay") }},
		constant("InhibitDelayMaxUSec", "t", inhibitDelay),
		{"PreparingForShutdown", "b", func() any { g.mu.Lock(); defer g.mu.Unlock(); return g.preparing != "" }},
		constant("PreparingForSleep", "b", false),
		{"ScheduledShutdown", "(st)", func() any { g.mu.Lock(); defer g.mu.Unlock(); return []any{g.plan.kind, g.plan.microseconds()} }},
		constant("HandlePowerKey", "s", "poweroff"),
		constant("HandleRebootKey", "s", "ignore"),
		constant("IdleHint", "b", false),
		constant("IdleAction", "s", "ignore"),
		constant("Docked", "b", false),
		constant("OnExternalPower", "b", true),
		constant("EnableWallMessages", "b", false),
		constant("WallMessage", "s", ""),
		constant("KillUserProcesses", "b", false),
		constant("NAutoVTs", "u", uint32(0)),
		constant("InhibitorsMax", "t", uint64(maxLocks)),
		{"NCurrentInhibitors", "t", func() any { g.mu.Lock(); defer g.mu.Unlock(); return uint64(len(g.locks)) }},
		constant("SessionsMax", "t", uint64(0)),
		constant("NCurrentSessions", "t", uint64(0)),
	}
}

// inhibited returns what locks of a mode inhibit, with colons between.
func (g *login) inhibited(mode string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []string
	for _, w := range lockable {
		if slices.ContainsFunc(g.locks, func(l *Lock) bool { return l.holds(w, mode) }) {
			found = append(found, w)
		}
	}
	return strings.Join(found, ":")
}

func (g *login) inhibit(c *client, args []any) ([]any, error) {
	l, err := newLock(c, args)
	if err != nil {
		return nil, err
	}
	l.onRelease = func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.locks = slices.DeleteFunc(g.locks, func(m *Lock) bool { return m == l })
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.preparing != "" && slices.Contains(l.what, "shutdown") {
		return nil, fault(inProgress, "the machine is being stopped, so it is too late for a lock")
	}
	if len(g.locks) >= maxLocks {
		return nil, fault(limitsExceeded, "there are %d locks already", maxLocks)
	}
	file, err := l.file()
	if err != nil {
		return nil, err
	}
	g.locks = append(g.locks, l)
	g.server.host.Log.Info("bus: %s takes a lock on %s, mode %s: %s", c, strings.Join(l.what, ":"), l.mode, l)
	return []any{file}, nil
}

func (g *login) listInhibitors(*client, []any) ([]any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := []any{}
	for _, l := range g.locks {
		list = append(list, []any{strings.Join(l.what, ":"), l.Who, l.Why, l.mode, l.uid, l.PID})
	}
	return []any{list}, nil
}

// stop returns the method that stops the machine. Its argument is flags, or says
// whether a person may be asked to authenticate.
func (g *login) stop(a Action) func(c *client, args []any) ([]any, error) {
	return func(c *client, args []any) ([]any, error) {
		flags, _ := args[0].(uint64)
		if err := g.claim(flags&skipInhibitors != 0); err != nil {
			return nil, err
		}
		cause := c.String()
		c.after = append(c.after, func() { g.server.host.Stop(a, cause) })
		return nil, nil
	}
}

// claim makes a request the one that stops the machine. It fails if there was another
// one before, or if a lock forbids it and is not to be skipped.
func (g *login) claim(skip bool) error {
	if blocks := g.held("block"); len(blocks) > 0 && !skip {
		return fault(blocked, "not now, says %s; the flag %d skips that", blocks[0], skipInhibitors)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.requested {
		return fault(inProgress, "the machine is being stopped already")
	}
	g.requested = true
	return nil
}

// wall only logs: there are no terminals to write to.
func (g *login) wall(c *client, args []any) ([]any, error) {
	if text := consoleline.Clean(args[0].(string), 300); text != "" {
		g.server.host.Log.Notice("%s says: %s", c, text)
	}
	return nil, nil
}

// nobody returns the method that finds no session, user or seat.
func (g *login) nobody(name, what string) func(*client, []any) ([]any, error) {
	return func(_ *client, args []any) ([]any, error) {
		return nil, fault("org.freedesktop.login1."+name, "there is no %s %v: nobody logs in to a node", what, args[0])
	}
}
