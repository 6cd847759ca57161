package chrony

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"kios/pods/lazyregexp"
	"kios/pods/settings"
)

// file is /etc/kios/time.yaml. A list that is there, even an empty one, takes
// the place of what DHCP says.
type file struct {
	Servers, Pools []entry
	PTP            bool
	named          bool // there is a list
	lost           bool // a list has a mistake
	nts            bool // there is a mistake where servers that prove who they are are wanted
}

// wantsNTS finds the wish in what cannot be read.
var wantsNTS = lazyregexp.New(`["']?\bnts["']?\s*:\s*["']?(true|yes|on)\b`)

// parseFile reads the fields one by one, and the lists entry by entry: a mistake costs
// what it is in. Where not even the fields can be told apart, it returns nothing but
// whether the text wants NTS.
func parseFile(path string, text []byte) (f file, errs []error) {
	f.PTP = true
	var fields map[string]json.RawMessage
	if err := settings.Parse(path, text, &fields); err != nil {
		f.nts = wantsNTS().Match(text)
		return f, []error{err}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		more := f.parseField(path, name, fields[name])
		f.nts = f.nts || len(more) > 0 && wantsNTS().Match(fields[name])
		errs = append(errs, more...)
	}
	return f, errs
}

func (f *file) parseField(path, name string, raw []byte) (errs []error) {
	list := map[string]*[]entry{"servers": &f.Servers, "pools": &f.Pools}[name]
	switch {
	case name == "ptp":
		return f.parsePTP(path, raw)
	case list == nil:
		return []error{fmt.Errorf("%s: there is no field %q", path, name)}
	case string(raw) != "null":
		*list, errs = parseList(path, name, raw)
		f.named, f.lost = true, f.lost || len(errs) > 0
	}
	return errs
}

// entry is a server or a pool: its address alone, or a map.
type entry struct {
	Address string `json:"address"`
	IBurst  *bool  `json:"iburst"`
	NTS     bool   `json:"nts"`
	Prefer  bool   `json:"prefer"`
}

// UnmarshalJSON reads what YAML became.
func (e *entry) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, &e.Address)
	}
	type plain entry // without this method
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode((*plain)(e)); err != nil {
		return err
	}
	if e.Address == "" {
		return errors.New("a server or pool that is a map needs the field address")
	}
	return nil
}

// source is one line of chrony's configuration.
type source struct {
	kind string // "server" or "pool"
	entry
	trusted bool // somebody named it for this node, so it outvotes the others
}

// line is the source as chrony.conf(5) has it. The address was checked: nothing
// else gets into the line.
func (s source) line() string {
	words := []string{s.kind, s.Address}
	if s.IBurst == nil || *s.IBurst {
		words = append(words, "iburst")
	}
	if s.NTS {
		words = append(words, "nts")
	}
	if s.Prefer {
		words = append(words, "prefer")
	}
	if s.trusted {
		words = append(words, "trust")
	}
	return strings.Join(words, " ")
}

// String is the source for people.
func (s source) String() string {
	text := s.kind + " " + s.Address
	if s.NTS {
		text += " (NTS)"
	}
	return text
}

// choice is where the time is to come from, and why from there.
type choice struct {
	sources []source
	from    string // in words
	ptp     bool   // the hypervisor's clock, too, if there is one
	byDHCP  bool   // the sources are those of DHCP
}

// isAuthenticated reports whether all sources prove who they are.
func (c choice) isAuthenticated() bool {
	without := func(s source) bool { return !s.NTS }
	return len(c.sources) > 0 && !slices.ContainsFunc(c.sources, without)
}

// parsePTP reads whether the hypervisor's clock is to be used.
func (f *file) parsePTP(path string, raw []byte) []error {
	var ptp *bool
	if err := readField(path, "ptp", raw, &ptp); err != nil {
		return []error{err}
	}
	f.PTP = ptp == nil || *ptp
	return nil
}

// parseList reads a list of servers or pools, without the entries that have a mistake.
func parseList(path, name string, raw []byte) (entries []entry, errs []error) {
	var list []json.RawMessage
	if err := readField(path, name, raw, &list); err != nil {
		return nil, []error{err}
	}
	for i, one := range list {
		var e entry
		if err := settings.Parse(fmt.Sprintf("%s: %s[%d]", path, name, i), one, &e); err != nil {
			errs = append(errs, err)
			continue
		}
		if !validAddress(e.Address) {
			errs = append(errs, fmt.Errorf("%s: %s[%d]: %q is neither an IP address nor a host name", path, name, i, e.Address))
			continue
		}
		entries = append(entries, e)
	}
	return entries, errs
}

// readField reads one field, and has messages name it.
func readField[T any](path, name string, raw []byte, into *T) error {
	one, err := json.Marshal(map[string]json.RawMessage{name: raw})
	if err != nil {
		return err
	}
	var read map[string]T
	if err := settings.Parse(path, one, &read); err != nil {
		return errors.New(strings.Replace(err.Error(), ": the whole is", ": the field "+name+" is", 1))
	}
	*into = read[name]
	return nil
}

// choose reads the user's file and the one that DHCP's client writes. Mistakes
// are returned, one line each; what they spoil is left out.
func choose(path string, text, dhcp []byte) (choice, []error) {
	f, errs := parseFile(path, text)
	c := choice{sources: append(fromFile("server", f.Servers), fromFile("pool", f.Pools)...), from: path, ptp: f.PTP}
	if len(c.sources) > 0 || f.named && !f.lost {
		return c, errs
	}
	if f.nts {
		return c, errs // servers that prove nothing are no substitute
	}
	from := "DHCP"
	if len(errs) > 0 { // perhaps the user wants servers, and not one can be used
		from += ", because of the mistakes in " + path
	}
	c, more := fromDHCP(dhcp, from)
	c.ptp = f.PTP
	return c, append(errs, more...)
}

func fromFile(kind string, entries []entry) (sources []source) {
	for _, e := range entries {
		sources = add(sources, source{kind: kind, entry: e, trusted: true})
	}
	return sources
}

// maxDHCP is more servers than any sensible network names.
const maxDHCP = 16

// fromDHCP reads a file with one server a line.
func fromDHCP(text []byte, from string) (choice, []error) {
	c := choice{from: from, ptp: true, byDHCP: true}
	var errs []error
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || len(c.sources) == maxDHCP:
		case !validAddress(line):
			errs = append(errs, fmt.Errorf("DHCP: %q is neither an IP address nor a host name", line))
		default:
			c.sources = add(c.sources, source{kind: "server", entry: entry{Address: line}})
		}
	}
	return c, errs
}

// add appends a source unless it is there; chronyd refuses one that is there
// twice.
func add(sources []source, s source) []source {
	for _, have := range sources {
		if strings.EqualFold(have.Address, s.Address) {
			return sources
		}
	}
	return append(sources, s)
}

// hostName follows RFC 1123, and takes the underscore that some sites use.
var hostName = lazyregexp.New(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

// zone is the interface of a link-local address.
var zone = lazyregexp.New(`^[A-Za-z0-9._-]*$`)

// validAddress demands that chronyd takes the text for one word, and for an
// address.
func validAddress(text string) bool {
	if a, err := netip.ParseAddr(text); err == nil {
		return zone().MatchString(a.Zone())
	}
	return len(text) <= 253 && hostName().MatchString(text) && !allNumeric(text)
}

// allNumeric tells 10.0.0.300, which is a typing mistake and no name.
func allNumeric(text string) bool { return strings.Trim(text, "0123456789.") == "" }
