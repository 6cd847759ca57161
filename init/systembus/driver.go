package systembus

import (
	"slices"
	"strings"

	"kios/init/dbuswire"
)

const driverName = "org.freedesktop.DBus"

// Answers of the bus, see "Message Bus Messages" in the D-Bus Specification.
const (
	startAlreadyRunning = uint32(2)
	releaseNonExistent  = uint32(2)
	releaseNotOwner     = uint32(3)
)

// driverObjects are the bus itself. Some programs call it at the path /.
func (s *Server) driverObjects() []object {
	driver := iface{
		name: driverName,
		methods: []method{
			{"Hello", "", "s", false, s.hello},
			{"AddMatch", "s", "", false, s.addMatch},
			{"RemoveMatch", "s", "", false, s.removeMatch},
			{"RequestName", "su", "u", false, s.requestName},
			{"ReleaseName", "s", "u", false, s.releaseName},
			{"StartServiceByName", "su", "u", false, s.startService},
			{"ListNames", "", "as", false, func(*client, []any) ([]any, error) { return []any{texts(s.names()...)}, nil }},
			{"ListActivatableNames", "", "as", false, func(*client, []any) ([]any, error) { return []any{texts(s.ownNames()...)}, nil }},
			{"NameHasOwner", "s", "b", false, s.nameHasOwner},
			{"GetNameOwner", "s", "s", false, s.getNameOwner},
			{"ListQueuedOwners", "s", "as", false, s.listQueuedOwners},
			{"GetConnectionUnixUser", "s", "u", false, s.getUser},
			{"GetConnectionUnixProcessID", "s", "u", false, s.getProcess},
			{"GetConnectionCredentials", "s", "a{sv}", false, s.getCredentials},
			{"GetId", "", "s", false, func(*client, []any) ([]any, error) { return []any{s.id}, nil }},
		},
		properties: []property{
			constant("Features", "as", []any{}),
			constant("Interfaces", "as", []any{}),
		},
		signals: []signal{{"NameOwnerChanged", "sss"}, {"NameLost", "s"}, {"NameAcquired", "s"}},
	}
	return []object{{"/org/freedesktop/DBus", []iface{driver}}, {"/", []iface{driver}}}
}

const driverPath = dbuswire.ObjectPath("/org/freedesktop/DBus")

func (s *Server) hello(c *client, _ []any) ([]any, error) {
	if c.name != "" {
		return nil, fault(failed, "Hello was said already")
	}
	name := s.enter(c)
	c.after = append(c.after, func() {
		// To the client alone: this signal needs no match rule.
		m := &dbuswire.Message{
			Type: dbuswire.Signal, Flags: dbuswire.NoReply, Serial: s.serial.Add(1), Sender: driverName, Destination: name,
			Path: driverPath, Interface: driverName, Member: "NameAcquired", Signature: "s", Body: []any{name},
		}
		if text, err := m.Encode(); err == nil {
			c.deliver(packet{text: text})
		}
		s.nameOwnerChanged(name, "", name)
	})
	return []any{name}, nil
}

func (s *Server) nameOwnerChanged(name, before, after string) {
	s.emit(s.services[0], driverPath, driverName, "NameOwnerChanged", "sss", name, before, after)
}

func (s *Server) addMatch(c *client, args []any) ([]any, error) {
	r, err := parseRule(args[0].(string))
	if err != nil {
		return nil, fault(matchInvalid, "%v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rules) >= maxRules {
		return nil, fault(limitsExceeded, "a client may have %d match rules", maxRules)
	}
	// A new slice each time: others read the old one.
	c.rules = append(slices.Clone(c.rules), r)
	return nil, nil
}

func (s *Server) removeMatch(c *client, args []any) ([]any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.rules, func(r rule) bool { return r.text == args[0] })
	if i < 0 {
		return nil, fault(matchNotFound, "there is no such rule")
	}
	c.rules = slices.Delete(slices.Clone(c.rules), i, i+1)
	return nil, nil
}

func (s *Server) requestName(c *client, args []any) ([]any, error) {
	return nil, fault(accessDenied, "nobody but PID 1 owns names on this bus, so %s cannot be had", args[0])
}

func (s *Server) releaseName(c *client, args []any) ([]any, error) {
	if s.owner(args[0].(string)) == "" {
		return []any{releaseNonExistent}, nil
	}
	return []any{releaseNotOwner}, nil
}

func (s *Server) startService(c *client, args []any) ([]any, error) {
	if s.owner(args[0].(string)) == "" {
		return nil, fault(serviceUnknown, "there is no %s on this bus, nor anything to start it", args[0])
	}
	return []any{startAlreadyRunning}, nil
}

// ownNames are the names of services.
func (s *Server) ownNames() []string {
	var names []string
	for _, v := range s.services {
		names = append(names, v.name)
	}
	return names
}

// names are all that have an owner.
func (s *Server) names() []string {
	names := s.ownNames()
	for _, v := range s.services[1:] {
		names = append(names, v.unique)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.clients {
		names = append(names, name)
	}
	return names
}

// owner returns the unique name of the owner of a name, or "".
func (s *Server) owner(name string) string {
	if v := s.service(name); v != nil {
		return v.unique
	}
	if strings.HasPrefix(name, ":") && s.client(name) != nil {
		return name
	}
	return ""
}

func (s *Server) nameHasOwner(_ *client, args []any) ([]any, error) {
	return []any{s.owner(args[0].(string)) != ""}, nil
}

func (s *Server) getNameOwner(_ *client, args []any) ([]any, error) {
	owner := s.owner(args[0].(string))
	if owner == "" {
		return nil, fault(noOwner, "%s has no owner", args[0])
	}
	return []any{owner}, nil
}

func (s *Server) listQueuedOwners(c *client, args []any) ([]any, error) {
	owner, err := s.getNameOwner(c, args)
	if err != nil {
		return nil, err
	}
	return []any{owner}, nil
}

// credentials returns the user and the process behind a name.
func (s *Server) credentials(name string) (uid, pid uint32, err error) {
	if s.service(name) != nil {
		return 0, 1, nil
	}
	if c := s.client(name); c != nil {
		return c.uid, uint32(c.pid), nil
	}
	return 0, 0, fault(noOwner, "%s has no owner", name)
}

func (s *Server) getUser(_ *client, args []any) ([]any, error) {
	uid, _, err := s.credentials(args[0].(string))
	return []any{uid}, err
}

func (s *Server) getProcess(_ *client, args []any) ([]any, error) {
	_, pid, err := s.credentials(args[0].(string))
	return []any{pid}, err
}

func (s *Server) getCredentials(_ *client, args []any) ([]any, error) {
	uid, pid, err := s.credentials(args[0].(string))
	return []any{[]any{
		[]any{"UnixUserID", dbuswire.Variant{Type: "u", Value: uid}},
		[]any{"ProcessID", dbuswire.Variant{Type: "u", Value: pid}},
	}}, err
}
