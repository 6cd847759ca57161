package systembus

import (
	"fmt"
	"slices"
	"strings"

	"kios/init/dbuswire"
	"kios/internal/userfile"
)

// service is a name on the bus with its objects.
type service struct {
	name, unique string
	objects      []object
	files        files
}

// object is what has methods and properties. Its interfaces are tables, by which
// calls are carried out and introspection is answered.
type object struct {
	path       dbuswire.ObjectPath
	interfaces []iface
}

type iface struct {
	name       string
	methods    []method
	properties []property
	signals    []signal
}

type method struct {
	name    string
	in, out dbuswire.Signature
	root    bool // it changes something, so only root may call it
	call    func(c *client, args []any) ([]any, error)
}

type property struct {
	name string
	kind dbuswire.Signature
	get  func() any
}

type signal struct {
	name string
	kind dbuswire.Signature
}

// constant is a property that never changes.
func constant(name string, kind dbuswire.Signature, value any) property {
	return property{name, kind, func() any { return value }}
}

// texts makes an array of strings.
func texts(list ...string) []any {
	values := make([]any, len(list))
	for i, s := range list {
		values[i] = s
	}
	return values
}

// call carries out a method call and returns its results with their types.
func (s *Server) call(c *client, m *dbuswire.Message) (dbuswire.Signature, []any, error) {
	if c.name == "" && (m.Destination != driverName || m.Member != "Hello") {
		return "", nil, fault(accessDenied, "say Hello first")
	}
	v, err := s.addressee(m)
	if err != nil {
		return "", nil, err
	}
	o, err := v.object(m.Path)
	if err != nil {
		return "", nil, err
	}
	f, err := o.method(m)
	if err != nil {
		return "", nil, err
	}
	if f.root && c.uid != s.root {
		return "", nil, fault(accessDenied, "%s is for root of the node, and this is user %d", f.name, c.uid)
	}
	if m.Signature != f.in {
		return "", nil, fault(invalidArgs, "%s takes arguments of the types %q, not %q", f.name, f.in, m.Signature)
	}
	args, err := m.Args()
	if err != nil {
		return "", nil, fault(invalidArgs, "%s: %v", f.name, err)
	}
	results, err := f.call(c, args)
	return f.out, results, err
}

// addressee returns the service that a call is for. A call without a
// destination is for the bus.
func (s *Server) addressee(m *dbuswire.Message) (*service, error) {
	to := m.Destination
	if to == "" {
		to = driverName
	}
	if v := s.service(to); v != nil {
		return v, nil
	}
	if s.client(to) != nil {
		return nil, fault(accessDenied, "this bus does not carry messages from one client to another")
	}
	return nil, fault(serviceUnknown, "there is no %s on this bus", to)
}

// object returns the object at a path, or one that has only children.
func (v *service) object(path dbuswire.ObjectPath) (object, error) {
	for _, o := range v.objects {
		if o.path == path {
			return object{path, slices.Concat(o.interfaces, v.standard(o))}, nil
		}
	}
	if len(v.children(path)) > 0 {
		o := object{path: path}
		return object{path, v.standard(o)}, nil
	}
	return object{}, fault(unknownObject, "%s has no object %s", v.name, path)
}

// method returns the method that a call names. The call may leave the interface out.
func (o object) method(m *dbuswire.Message) (method, error) {
	known := false
	for _, i := range o.interfaces {
		if m.Interface != "" && i.name != m.Interface {
			continue
		}
		known = true
		for _, f := range i.methods {
			if f.name == m.Member {
				return f, nil
			}
		}
	}
	if !known {
		return method{}, fault(unknownInterface, "%s has no interface %s", o.path, m.Interface)
	}
	return method{}, fault(unknownMethod, "%s has no method %s in interface %s", o.path, m.Member, m.Interface)
}

// standard are the interfaces that every object has. Those of Properties are
// about the other interfaces of o.
func (v *service) standard(o object) []iface {
	return []iface{
		{name: "org.freedesktop.DBus.Peer", methods: []method{
			{"Ping", "", "", false, func(*client, []any) ([]any, error) { return nil, nil }},
			{"GetMachineId", "", "s", false, func(*client, []any) ([]any, error) { return []any{v.files.machineID()}, nil }},
		}},
		{name: "org.freedesktop.DBus.Introspectable", methods: []method{
			{"Introspect", "", "s", false, func(*client, []any) ([]any, error) { return []any{v.describe(o.path)}, nil }},
		}},
		{name: "org.freedesktop.DBus.Properties", methods: []method{
			{"Get", "ss", "v", false, func(_ *client, a []any) ([]any, error) { return o.get(a[0].(string), a[1].(string)) }},
			{"GetAll", "s", "a{sv}", false, func(_ *client, a []any) ([]any, error) { return o.getAll(a[0].(string)) }},
			{"Set", "ssv", "", false, func(_ *client, a []any) ([]any, error) {
				if _, err := o.get(a[0].(string), a[1].(string)); err != nil {
					return nil, err
				}
				return nil, fault(readOnly, "%s cannot be set", a[1])
			}},
		}, signals: []signal{{"PropertiesChanged", "sa{sv}as"}}},
	}
}

func (f files) machineID() string {
	return f.read(func() string {
		text, _ := userfile.Read("/etc/machine-id", userfile.Max)
		return strings.TrimSpace(string(text))
	})
}

func (o object) get(iface, name string) ([]any, error) {
	for _, i := range o.interfaces {
		if iface != "" && i.name != iface {
			continue
		}
		for _, p := range i.properties {
			if p.name == name {
				return []any{dbuswire.Variant{Type: p.kind, Value: p.get()}}, nil
			}
		}
	}
	return nil, fault(unknownProperty, "%s has no property %s in interface %s", o.path, name, iface)
}

func (o object) getAll(iface string) ([]any, error) {
	all := []any{}
	known := iface == "" || strings.HasPrefix(iface, "org.freedesktop.DBus.")
	for _, i := range o.interfaces {
		if iface != "" && i.name != iface {
			continue
		}
		known = true
		for _, p := range i.properties {
			all = append(all, []any{p.name, dbuswire.Variant{Type: p.kind, Value: p.get()}})
		}
	}
	if !known {
		return nil, fault(unknownInterface, "%s has no interface %s", o.path, iface)
	}
	return []any{all}, nil
}

// children returns the next elements of the paths below one.
func (v *service) children(path dbuswire.ObjectPath) []string {
	prefix := strings.TrimSuffix(string(path), "/") + "/"
	var names []string
	for _, o := range v.objects {
		if rest, found := strings.CutPrefix(string(o.path), prefix); found && rest != "" {
			name, _, _ := strings.Cut(rest, "/")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// describe returns what is at a path, in the format of introspection. Names
// and types have no characters that must be escaped in XML.
func (v *service) describe(path dbuswire.ObjectPath) string {
	o, _ := v.object(path) // it was found before
	var b strings.Builder
	b.WriteString(`<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"` + "\n" +
		`"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">` + "\n<node>\n")
	for _, i := range o.interfaces {
		i.describe(&b)
	}
	for _, name := range v.children(path) {
		fmt.Fprintf(&b, " <node name=\"%s\"/>\n", name)
	}
	b.WriteString("</node>\n")
	return b.String()
}

func (i iface) describe(b *strings.Builder) {
	fmt.Fprintf(b, " <interface name=\"%s\">\n", i.name)
	for _, m := range i.methods {
		fmt.Fprintf(b, "  <method name=\"%s\">\n", m.name)
		describeArgs(b, m.in, ` direction="in"`)
		describeArgs(b, m.out, ` direction="out"`)
		b.WriteString("  </method>\n")
	}
	for _, p := range i.properties {
		fmt.Fprintf(b, "  <property name=\"%s\" type=\"%s\" access=\"read\"/>\n", p.name, p.kind)
	}
	for _, s := range i.signals {
		fmt.Fprintf(b, "  <signal name=\"%s\">\n", s.name)
		describeArgs(b, s.kind, "")
		b.WriteString("  </signal>\n")
	}
	b.WriteString(" </interface>\n")
}

func describeArgs(b *strings.Builder, kinds dbuswire.Signature, direction string) {
	for _, kind := range kinds.Split() {
		fmt.Fprintf(b, "   <arg type=\"%s\"%s/>\n", kind, direction)
	}
}
