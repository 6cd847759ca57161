package systembus

import (
	"cmp"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"kios/init/dbuswire"
	"kios/internal/unixsocket"
)

const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = dbuswire.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = "org.freedesktop.systemd1.Manager"
)

// units are all units. Before the dot is the name of the daemon.
var units = []string{Containerd, Kubelet}

// architectures has systemd's names of processors that have another one in Go
// (ConditionArchitecture= in systemd.unit(5)).
var architectures = map[string]string{"amd64": "x86-64"}

func architecture(goarch string) string { return cmp.Or(architectures[goarch], goarch) }

// unitPath is the object of a unit: each byte of its name that is no letter or
// digit is _ and its two hex digits.
func unitPath(name string) dbuswire.ObjectPath {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; notAlphanumeric(c) {
			fmt.Fprintf(&b, "_%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return systemdPath + "/unit/" + dbuswire.ObjectPath(b.String())
}

func notAlphanumeric(c byte) bool {
	return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
}

// jobs are restarts that have not ended. The zero value has none.
type jobs struct {
	last    uint32
	running map[string]uint32 // by unit
}

func jobPath(id uint32) dbuswire.ObjectPath {
	return systemdPath + dbuswire.ObjectPath(fmt.Sprintf("/job/%d", id))
}

func (s *Server) systemdObjects() []object {
	nothing := func(*client, []any) ([]any, error) { return nil, nil }
	refused := func(why string) func(*client, []any) ([]any, error) {
		return func(*client, []any) ([]any, error) { return nil, fault(notSupported, "%s", why) }
	}
	const always = "the daemons of a node run all the time; RestartUnit restarts one"
	manager := iface{
		name: systemdManager,
		methods: []method{
			{"GetUnit", "s", "o", false, s.getUnit},
			{"LoadUnit", "s", "o", false, s.getUnit},
			{"GetUnitByPID", "u", "o", false, s.getUnitByPID},
			{"ListUnits", "", "a(ssssssouso)", false, s.listUnits(func([]any, string) bool { return true })},
			{"ListUnitsByNames", "as", "a(ssssssouso)", false, s.listUnits(func(a []any, name string) bool { return slices.Contains(a[0].([]any), any(name)) })},
			{"ListUnitsFiltered", "as", "a(ssssssouso)", false, s.listUnits(s.inState)},
			{"ListUnitsByPatterns", "asas", "a(ssssssouso)", false, s.listUnits(func(a []any, name string) bool { return s.inState(a, name) && matchesAny(a[1].([]any), name) })},
			{"ListJobs", "", "a(usssoo)", false, s.listJobs},
			{"RestartUnit", "ss", "o", true, s.restartUnit},
			{"TryRestartUnit", "ss", "o", true, s.restartUnit},
			{"ReloadOrRestartUnit", "ss", "o", true, s.restartUnit},
			{"ReloadOrTryRestartUnit", "ss", "o", true, s.restartUnit},
			{"StartUnit", "ss", "o", true, refused(always)},
			{"StopUnit", "ss", "o", true, refused(always)},
			{"ReloadUnit", "ss", "o", true, refused(always)},
			{"KillUnit", "ssi", "", true, s.killUnit},
			{"Subscribe", "", "", false, nothing}, // who has a match rule gets signals
			{"Unsubscribe", "", "", false, nothing},
		},
		properties: []property{
			constant("Version", "s", "kiOS"),
			constant("Architecture", "s", architecture(runtime.GOARCH)),
			constant("SystemState", "s", "running"),
			constant("NNames", "u", uint32(len(units))),
			constant("NFailedUnits", "u", uint32(0)),
			{"NJobs", "u", func() any { s.mu.Lock(); defer s.mu.Unlock(); return uint32(len(s.jobs.running)) }},
		},
		signals: []signal{{"JobNew", "uos"}, {"JobRemoved", "uoss"}, {"UnitNew", "so"}, {"UnitRemoved", "so"}, {"Reloading", "b"}},
	}
	objects := []object{{systemdPath, []iface{manager}}}
	for _, name := range units {
		objects = append(objects, object{unitPath(name), s.unitInterfaces(name)})
	}
	return objects
}

func (s *Server) unitInterfaces(name string) []iface {
	unit := func(f func(Unit) any) func() any { return func() any { return f(s.host.Unit(name)) } }
	return []iface{
		{name: "org.freedesktop.systemd1.Unit",
			methods: []method{
				{"Restart", "s", "o", true, func(c *client, a []any) ([]any, error) { return s.restartUnit(c, []any{name, a[0]}) }},
			},
			properties: []property{
				constant("Id", "s", name),
				constant("Names", "as", texts(name)),
				{"Description", "s", unit(func(u Unit) any { return u.Description })},
				constant("LoadState", "s", "loaded"),
				{"ActiveState", "s", unit(func(u Unit) any { return u.Active })},
				{"SubState", "s", unit(func(u Unit) any { return u.Sub })},
				constant("UnitFileState", "s", "enabled"),
				constant("CanStart", "b", false),
				constant("CanStop", "b", false),
				constant("CanReload", "b", false),
				{"Job", "(uo)", func() any { id, path := s.job(name); return []any{id, path} }},
				constant("NeedDaemonReload", "b", false),
			}},
		{name: "org.freedesktop.systemd1.Service",
			properties: []property{
				constant("Type", "s", "notify"),
				constant("Restart", "s", "always"),
				{"MainPID", "u", unit(func(u Unit) any { return uint32(u.PID) })},
				{"NRestarts", "u", unit(func(u Unit) any { return uint32(u.Restarts) })},
				constant("Result", "s", "success"),
			}},
	}
}

func demandUnit(name string) error {
	if slices.Contains(units, name) {
		return nil
	}
	return fault(noSuchUnit, "there is no unit %.64q; there are %s", name, strings.Join(units, " and "))
}

func (s *Server) getUnit(_ *client, args []any) ([]any, error) {
	name := args[0].(string)
	return []any{unitPath(name)}, demandUnit(name)
}

func (s *Server) getUnitByPID(c *client, args []any) ([]any, error) {
	for _, name := range units {
		if pid := s.host.Unit(name).PID; pid != 0 && uint32(pid) == args[0] {
			return []any{unitPath(name)}, nil
		}
	}
	return nil, fault("org.freedesktop.systemd1.NoUnitForPID", "process %d is that of no unit", args[0])
}

// listUnits returns the method that lists the units for which chosen is true.
func (s *Server) listUnits(chosen func(args []any, name string) bool) func(*client, []any) ([]any, error) {
	return func(_ *client, args []any) ([]any, error) {
		list := []any{}
		for _, name := range units {
			if !chosen(args, name) {
				continue
			}
			u := s.host.Unit(name)
			id, job := s.job(name)
			kind := ""
			if id != 0 {
				kind = "restart"
			}
			list = append(list, []any{name, u.Description, "loaded", u.Active, u.Sub, "", unitPath(name), id, kind, job})
		}
		return []any{list}, nil
	}
}

// inState is the filter of ListUnitsFiltered: none lets all through.
func (s *Server) inState(args []any, name string) bool {
	states := args[0].([]any)
	u := s.host.Unit(name)
	return len(states) == 0 || slices.ContainsFunc(states, func(state any) bool {
		return state == "loaded" || state == u.Active || state == u.Sub
	})
}

func matchesAny(patterns []any, name string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p any) bool {
		ok, err := path.Match(p.(string), name)
		return ok && err == nil
	})
}

// job returns the number and the path of a unit's job, or 0 and /.
func (s *Server) job(unit string) (uint32, dbuswire.ObjectPath) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id := s.jobs.running[unit]; id != 0 {
		return id, jobPath(id)
	}
	return 0, "/"
}

func (s *Server) listJobs(*client, []any) ([]any, error) {
	list := []any{}
	for _, name := range units {
		if id, path := s.job(name); id != 0 {
			list = append(list, []any{id, name, "restart", "running", path, unitPath(name)})
		}
	}
	return []any{list}, nil
}

// restartUnit answers with the path of a job. The signal JobRemoved has its result.
func (s *Server) restartUnit(c *client, args []any) ([]any, error) {
	name, mode := args[0].(string), args[1].(string)
	if err := demandUnit(name); err != nil {
		return nil, err
	}
	switch mode {
	case "replace", "replace-irreversibly", "fail", "ignore-dependencies", "ignore-requirements":
	default:
		return nil, fault(invalidArgs, "%.40q is no mode of a job on a node; use replace", mode)
	}
	id, isNew := s.newJob(name)
	if isNew {
		cause := c.String()
		c.after = append(c.after, func() { go s.runJob(id, name, cause) })
	}
	return []any{jobPath(id)}, nil
}

// newJob returns the unit's job, and whether there was none.
func (s *Server) newJob(unit string) (id uint32, isNew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id := s.jobs.running[unit]; id != 0 {
		return id, false
	}
	if s.jobs.running == nil {
		s.jobs.running = map[string]uint32{}
	}
	s.jobs.last++
	s.jobs.running[unit] = s.jobs.last
	return s.jobs.last, true
}

func (s *Server) runJob(id uint32, unit, cause string) {
	defer unixsocket.Recover(s.warn)
	v := s.service(systemdName)
	s.emit(v, systemdPath, systemdManager, "JobNew", "uos", id, jobPath(id), unit)
	result := "failed"
	defer func() {
		s.mu.Lock()
		delete(s.jobs.running, unit)
		s.mu.Unlock()
		s.emit(v, systemdPath, systemdManager, "JobRemoved", "uoss", id, jobPath(id), unit, result)
	}()
	if err := s.host.RestartUnit(unit, cause); err != nil {
		s.host.Log.Warn("restart %s, as %s asks: %v", unit, cause, err)
		return
	}
	result = "done"
}

// killUnit accepts one signal: the kubelet's to logind, to read its configuration
// again. There is none to read, and the delay is long enough.
func (s *Server) killUnit(_ *client, args []any) ([]any, error) {
	name := args[0].(string)
	if name == "systemd-logind.service" {
		return nil, nil
	}
	if err := demandUnit(name); err != nil {
		return nil, err
	}
	return nil, fault(notSupported, "signals are not sent to %s; RestartUnit restarts it", name)
}
