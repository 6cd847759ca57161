package netconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"kios/pods/settings"
)

// entry is an interface as it is written.
type entry struct {
	MAC           string      `json:"mac"`
	Match         *matchEntry `json:"match"`
	Manage        *bool       `json:"manage"`
	Metric        int         `json:"metric"`
	Ignore        []string    `json:"ignore"`
	SourceRouting *bool       `json:"sourceRouting"`
	Addresses     []string    `json:"addresses"`
	Routes        []struct {
		To     string `json:"to"`
		Via    string `json:"via"`
		Metric int    `json:"metric"`
	} `json:"routes"`
	MTU    int        `json:"mtu"`
	DNS    []string   `json:"dns"`
	Search []string   `json:"search"`
	NTP    []string   `json:"ntp"`
	DHCP4  *bool      `json:"dhcp4"`
	DHCP6  *bool      `json:"dhcp6"`
	RA     *bool      `json:"ra"`
	VLAN   *vlanEntry `json:"vlan"`
	Bond   *bondEntry `json:"bond"`

	doubtful bool // what cannot be read may be addresses or routes
}

// besides are the fields that are not about addresses and routes. One that there is not
// may be a mistyped one of these.
var besides = []string{"mac", "match", "manage", "metric", "ignore", "sourceRouting", "mtu", "dns", "search", "ntp", "dhcp4", "dhcp6", "ra", "vlan", "bond"}

type vlanEntry struct {
	ID     int    `json:"id"`
	Parent string `json:"parent"`
}

type bondEntry struct {
	Members     []string `json:"members"`
	MAC         string   `json:"mac"`
	Mode        string   `json:"mode"`
	Primary     string   `json:"primary"`
	Miimon      *int     `json:"miimon"`
	UpDelay     int      `json:"upDelay"`
	DownDelay   int      `json:"downDelay"`
	MinLinks    int      `json:"minLinks"`
	ARPInterval int      `json:"arpInterval"`
	ARPTargets  []string `json:"arpTargets"`
	LACPRate    string   `json:"lacpRate"`
	XmitHash    string   `json:"xmitHash"`
}

// Parse reads the text of the file; path is for messages. Without a Config the
// text makes no sense as a whole. Otherwise the errors are mistakes in entries,
// which the Config has without what is wrong with them.
func Parse(path string, text []byte) (*Config, []error) {
	top, errs := parseTop(path, text)
	if top == nil {
		return nil, errs
	}
	c := &Config{Interfaces: map[string]*Interface{}}
	errs = append(errs, c.parseUnlisted(path, top["unlisted"])...)
	where := path + ": interfaces"
	var entries map[string]json.RawMessage
	if raw := top["interfaces"]; raw != nil {
		if err := settings.Parse(where, raw, &entries); err != nil {
			return nil, append(errs, err)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		i, more := parseEntry(key, where+"."+key, entries[key])
		errs = append(errs, more...)
		if i != nil {
			c.Interfaces[key] = i
		}
	}
	errs = append(errs, c.check(where)...)
	if len(c.Interfaces) < len(entries) && c.Unlisted != Present {
		errs = append(errs, fmt.Errorf("%s: an entry is lost, so that %q may leave the node without a way in: it counts as %q", path, c.Unlisted, Present))
		c.Unlisted = Present
	}
	c.notePatterns()
	return c, errs
}

// parseTop returns the fields at the top, or nil if the text makes no sense as a
// whole. A key that is there twice costs itself: the last one counts.
func parseTop(path string, text []byte) (map[string]json.RawMessage, []error) {
	top := map[string]json.RawMessage{}
	var errs []error
	if err := settings.Parse(path, text, &top); err != nil {
		clear(top)
		if !strings.Contains(err.Error(), "is there twice") || yaml.Unmarshal(text, &top) != nil {
			return nil, []error{err}
		}
		errs = append(errs, fmt.Errorf("%w; the last one counts", err))
	}
	for _, name := range slices.Sorted(maps.Keys(top)) {
		if name != "interfaces" && name != "unlisted" {
			errs = append(errs, fmt.Errorf("%s: there is no field %q at the top (there are: interfaces, unlisted)", path, name))
		}
	}
	return top, errs
}

func (c *Config) parseUnlisted(path string, raw json.RawMessage) []error {
	c.Unlisted = Present
	var s string
	if len(raw) == 0 {
		return nil
	}
	k := &checker{where: path}
	if err := settings.Parse(path+": unlisted", raw, &s); err != nil {
		return []error{err}
	}
	if k.oneOf("unlisted", s, policies); len(k.errs) == 0 && s != "" {
		c.Unlisted = Unlisted(s)
	}
	return k.errs
}

// parseEntry returns an entry, what is usable of it if there are errors, or nil.
func parseEntry(key, where string, raw []byte) (*Interface, []error) {
	var e entry
	var mistakes []error
	if err := settings.Parse(where, raw, &e); err != nil {
		e = entry{}
		mistakes = e.salvage(where, raw, err)
	}
	i, errs := e.convert(key, where, len(mistakes) > 0)
	if len(mistakes) > 0 && i == nil {
		return nil, mistakes
	}
	if i != nil {
		i.Doubtful = i.Doubtful || e.doubtful
	}
	return i, append(mistakes, errs...)
}

// salvage reads the fields one by one, and leaves out those with a mistake. whole is
// what is wrong with all of them together.
func (e *entry) salvage(where string, raw []byte, whole error) (mistakes []error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		e.doubtful = true
		return []error{whole}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		one, err := json.Marshal(map[string]json.RawMessage{name: fields[name]})
		read := *e
		if err == nil {
			err = settings.Parse(where, one, &read)
		}
		if err != nil {
			mistakes = append(mistakes, err)
			e.spoil(name)
			e.doubtful = e.doubtful || !slices.Contains(besides, name)
			continue
		}
		*e = read
	}
	return mistakes
}

// spoil marks a field that says which interface the entry is about, so that it fits
// none: another one must not get what is meant for it.
func (e *entry) spoil(name string) {
	switch name {
	case "mac":
		e.MAC = "?"
	case "match":
		e.Match = &matchEntry{}
	case "vlan":
		e.VLAN = &vlanEntry{}
	case "bond":
		e.Bond = &bondEntry{}
	}
}

// convert checks the entry. What it returns has no mistakes: with errors, or if some are
// known, it has what is right, and DHCP in addition. It is nil if the interface that it
// is about cannot be told.
func (e *entry) convert(key, where string, mistakes bool) (*Interface, []error) {
	k := &checker{where: where}
	id := &Interface{MAC: k.mac("mac", e.MAC), Match: e.Match.convert(k), Unmanaged: !choice(e.Manage, true), VLAN: e.VLAN.convert(k), Bond: e.Bond.convert(k)}
	switch {
	case e.VLAN != nil && e.Bond != nil:
		k.bad("", "it is a VLAN and a bond: give each an entry of its own")
		return nil, k.errs
	case e.MAC != "" && e.Match != nil:
		k.bad("match", "it is found by its field mac already: remove one of them")
		return nil, k.errs
	case id.virtual():
		k.virtual(id, e)
		if !isName(key) {
			k.badName(key)
			return nil, k.errs
		}
	case e.MAC == "" && e.Match == nil && !isName(key):
		k.badName(key)
		return nil, k.errs
	}
	i := e.rest(k)
	i.MAC, i.Match, i.Unmanaged, i.VLAN, i.Bond = id.MAC, id.Match, id.Unmanaged, id.VLAN, id.Bond
	k.unmanaged(i)
	if i.several() && len(i.Addresses) > 0 {
		k.bad("addresses", "several interfaces may fit the patterns, and cannot have one address: use mac")
	}
	switch {
	case len(k.errs) == 0 && !mistakes:
		return i, nil
	case e.VLAN != nil && id.VLAN == nil, e.Bond != nil && id.Bond == nil, e.MAC != "" && i.MAC == "" && !id.virtual(), e.Match != nil && i.Match == nil && !id.virtual():
		return nil, k.errs
	}
	i.leaveOut(k.fields)
	return i, k.errs
}

// rest converts everything but the fields that say which interface it is.
func (e *entry) rest(k *checker) *Interface {
	i := &Interface{MTU: k.mtu(e.MTU), Metric: k.metric("metric", e.Metric), Ignore: k.ignore(e.Ignore)}
	for n, s := range e.Addresses {
		i.Addresses = append(i.Addresses, k.address(at("addresses", n), s))
	}
	for n, r := range e.Routes {
		i.Routes = append(i.Routes, k.route(at("routes", n), r.To, r.Via, r.Metric))
	}
	for n, s := range e.DNS {
		i.DNS = append(i.DNS, k.host(at("dns", n), s))
	}
	for n, s := range e.Search {
		i.Search = append(i.Search, k.domain(at("search", n), s))
	}
	for n, s := range e.NTP {
		i.NTP = append(i.NTP, k.server(at("ntp", n), s))
	}
	static := len(e.Addresses) > 0
	i.DHCP4 = choice(e.DHCP4, !static)
	i.DHCP6 = choice(e.DHCP6, !static)
	i.RA = choice(e.RA, true)
	i.SourceRouting = choice(e.SourceRouting, true)
	if i.DHCP6 && !i.RA && e.DHCP6 != nil {
		k.bad("dhcp6", "without router advertisements (ra: false) nobody says whether there is DHCPv6")
	}
	k.together(i)
	return i
}

func (i *Interface) virtual() bool { return i.VLAN != nil || i.Bond != nil }

// leaveOut removes the parts with mistakes, and has the interface use DHCP, which may be
// the only way to it now.
func (i *Interface) leaveOut(fields []string) {
	i.DHCP4, i.DHCP6, i.RA = true, true, true
	i.Doubtful = i.Doubtful || slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(f, "addresses") || strings.HasPrefix(f, "routes") })
	i.Addresses = without(i.Addresses, "addresses", fields)
	i.Routes = without(i.Routes, "routes", fields)
	i.DNS = without(i.DNS, "dns", fields)
	i.Search = without(i.Search, "search", fields)
	i.NTP = without(i.NTP, "ntp", fields)
	i.Ignore = without(i.Ignore, "ignore", fields)
	if slices.Contains(fields, "mtu") {
		i.MTU = 0
	}
	if slices.Contains(fields, "metric") {
		i.Metric = 0
	}
}

// without returns the list of that field without the parts that have mistakes.
func without[E any](list []E, field string, fields []string) (rest []E) {
	for n, e := range list {
		bad := func(f string) bool {
			return f == field || f == at(field, n) || strings.HasPrefix(f, at(field, n)+".")
		}
		if !slices.ContainsFunc(fields, bad) {
			rest = append(rest, e)
		}
	}
	return rest
}

// fallback is the same interface with DHCP.
func (i *Interface) fallback() *Interface {
	d := Default()
	d.MAC, d.Match, d.Unmanaged, d.VLAN, d.Bond = i.MAC, i.Match, i.Unmanaged, i.VLAN, i.Bond
	return d
}

func choice(said *bool, otherwise bool) bool {
	if said != nil {
		return *said
	}
	return otherwise
}

func at(field string, n int) string { return fmt.Sprintf("%s[%d]", field, n) }

// checker collects what is wrong with one entry.
type checker struct {
	where  string
	errs   []error
	fields []string // that the errors are about, such as addresses[0]
}

func (k *checker) bad(field, format string, args ...any) {
	k.fields = append(k.fields, field)
	where := k.where
	if field != "" {
		where += "." + field
	}
	// What is quoted may hold line breaks; a message must not.
	text := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	k.errs = append(k.errs, errors.New(where+": "+text))
}
