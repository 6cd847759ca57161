package chrony

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"kios/pods/settings"
)

// file is /etc/kios/time.yaml. A list that is there, even an empty one, takes
// the place of what DHCP says.
type file struct {
	Servers []entry `json:"servers"`
	Pools   []entry `json:"pools"`
	PTP     *bool   `json:"ptp"`
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

// choose reads the user's file and the one that DHCP's client writes. Mistakes
// are returned, one line each; what they spoil is left out.
func choose(path string, text, dhcp []byte) (choice, []error) {
	var f file
	if err := settings.Parse(path, text, &f); err != nil {
		c, errs := fromDHCP(dhcp, "DHCP, because of the mistake in "+path)
		return c, append([]error{err}, errs...)
	}
	ptp := f.PTP == nil || *f.PTP
	if f.Servers == nil && f.Pools == nil {
		c, errs := fromDHCP(dhcp, "DHCP")
		c.ptp = ptp
		return c, errs
	}
	servers, errs := fromFile("server", path, f.Servers)
	pools, more := fromFile("pool", path, f.Pools)
	errs = append(errs, more...)
	if c := (choice{sources: append(servers, pools...), from: path, ptp: ptp}); len(c.sources) > 0 || len(errs) == 0 {
		return c, errs
	}
	if demandsNTS(append(f.Servers, f.Pools...)) {
		// Servers that prove nothing are no substitute.
		return choice{from: path, ptp: ptp}, errs
	}
	// The user wants servers, and not one can be used.
	c, more := fromDHCP(dhcp, "DHCP, because of the mistakes in "+path)
	c.ptp = ptp
	return c, append(errs, more...)
}

// demandsNTS reports whether the user wants servers that prove who they are only.
func demandsNTS(entries []entry) bool {
	return !slices.ContainsFunc(entries, func(e entry) bool { return !e.NTS })
}

func fromFile(kind, path string, entries []entry) ([]source, []error) {
	var sources []source
	var errs []error
	for i, e := range entries {
		if !validAddress(e.Address) {
			errs = append(errs, fmt.Errorf("%s: %ss[%d]: %q is neither an IP address nor a host name", path, kind, i, e.Address))
			continue
		}
		sources = add(sources, source{kind: kind, entry: e, trusted: true})
	}
	return sources, errs
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
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

// zone is the interface of a link-local address.
var zone = regexp.MustCompile(`^[A-Za-z0-9._-]*$`)

// validAddress demands that chronyd takes the text for one word, and for an
// address.
func validAddress(text string) bool {
	if a, err := netip.ParseAddr(text); err == nil {
		return zone.MatchString(a.Zone())
	}
	return len(text) <= 253 && hostName.MatchString(text) && !allNumeric(text)
}

// allNumeric tells 10.0.0.300, which is a typing mistake and no name.
func allNumeric(text string) bool { return strings.Trim(text, "0123456789.") == "" }

// readIfThere returns nothing for a file that does not exist.
func readIfThere(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}
