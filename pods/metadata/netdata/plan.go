package netdata

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kios/pods/metadata/want"
)

// Limits of what is taken in; more is named as skipped.
const (
	maxInterfaces = 64
	maxItems      = 128 // of each list of an interface
	maxSkipped    = 64
)

// plan is the file network.yaml in the making.
type plan struct {
	entries map[string]*entry
	keys    []string          // of entries, in the order of the data
	ids     map[string]string // the key of what the data call by that name
	dns     []string          // of no interface in particular
	search  []string
	skipped []string
}

// entry is one interface of the file; package netconf describes the fields.
type entry struct {
	MAC       string         `json:"mac,omitempty"`
	Match     *match         `json:"match,omitempty"`
	Addresses []string       `json:"addresses,omitempty"`
	Routes    []route        `json:"routes,omitempty"`
	MTU       int            `json:"mtu,omitempty"`
	DNS       []string       `json:"dns,omitempty"`
	Search    []string       `json:"search,omitempty"`
	DHCP4     *bool          `json:"dhcp4,omitempty"`
	DHCP6     *bool          `json:"dhcp6,omitempty"`
	RA        *bool          `json:"ra,omitempty"`
	Metric    int            `json:"metric,omitempty"`
	Ignore    []string       `json:"ignore,omitempty"`
	VLAN      *vlan          `json:"vlan,omitempty"`
	Bond      map[string]any `json:"bond,omitempty"`
}

type match struct {
	MAC    string `json:"mac,omitempty"`
	Driver string `json:"driver,omitempty"`
}

type route struct {
	To     string `json:"to"`
	Via    string `json:"via,omitempty"`
	Metric int    `json:"metric,omitempty"`
}

type vlan struct {
	ID     int    `json:"id"`
	Parent string `json:"parent"`
}

// skip notes what the data ask for and the file does not say.
func (p *plan) skip(format string, args ...any) {
	line := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	p.skipped = want.Note(p.skipped, maxSkipped, "network data: more is not used and not named here", "network data: %s", strings.ToValidUTF8(line, "?"))
}

// add makes the entry of an interface that the data call id. It is nil if there are too
// many.
func (p *plan) add(id string) *entry {
	if len(p.keys) == maxInterfaces {
		p.skip("%q: more than %d interfaces", id, maxInterfaces)
		return nil
	}
	key := p.freeKey(id)
	p.ids[id] = key
	p.keys = append(p.keys, key)
	p.entries[key] = &entry{}
	return p.entries[key]
}

// freeKey is the id if an interface can have that name, and else a name of ours.
func (p *plan) freeKey(id string) string {
	key := id
	for n := 0; !isName(key) || p.entries[key] != nil; n++ {
		key = fmt.Sprintf("net%d", n)
	}
	return key
}

// isName reports whether an interface can have the name, and a message name it.
func isName(s string) bool {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`/:"'`, r) }
	return s != "" && len(s) <= 15 && s != "lo" && s != "." && s != ".." && !strings.ContainsFunc(s, odd)
}

// key is by what the file means what the data call id.
func (p *plan) key(id string) string {
	if key, known := p.ids[id]; known {
		return key
	}
	return id
}

// number returns a number of a field, or 0 for what is none.
func (p *plan) number(id, field string, t text) int {
	n := t.number()
	if n < 0 {
		p.skip("%s: %s %q: it is no number", id, field, t)
		return 0
	}
	return n
}

// address adds an address, which has its prefix length, or a mask beside it, or counts
// alone.
func (e *entry) address(address, mask string) {
	if address == "" {
		return
	}
	if a, err := netip.ParseAddr(address); err == nil {
		address = fmt.Sprintf("%s/%d", address, bits(mask, a.BitLen()))
	}
	if !slices.Contains(e.Addresses, address) {
		e.Addresses = append(e.Addresses, address)
	}
}

// bits is the length of a mask, which is written as an address or as the length.
func bits(mask string, otherwise int) int {
	if n := text(strings.TrimPrefix(mask, "/")).number(); n > 0 {
		return n
	}
	a, err := netip.ParseAddr(mask)
	if err != nil {
		return otherwise
	}
	n := 0
	for _, b := range a.AsSlice() {
		for ; b&0x80 != 0; b <<= 1 {
			n++
		}
	}
	if p, err := a.Prefix(n); err != nil || p.Addr() != a {
		return -1 // with holes, which the parser of the file refuses
	}
	return n
}

// gateway adds a default route.
func (e *entry) gateway(via string) {
	if via != "" {
		e.route(route{To: "default", Via: via}, "")
	}
}

// route adds a route to a subnet, whose mask may be beside it.
func (e *entry) route(r route, mask string) {
	r.To = destination(r.To, mask)
	if strings.HasSuffix(r.To, "/0") && r.Via != "" {
		r.To = "default"
	}
	if !slices.Contains(e.Routes, r) {
		e.Routes = append(e.Routes, r)
	}
}

// destination is a subnet without the bits beyond its length.
func destination(to, mask string) string {
	if a, err := netip.ParseAddr(to); err == nil {
		to = fmt.Sprintf("%s/%d", to, bits(mask, a.BitLen()))
	}
	if subnet, err := netip.ParsePrefix(to); err == nil {
		return subnet.Masked().String()
	}
	return to
}

// uses says how an interface gets addresses: nil for what is not said.
func (e *entry) uses(dhcp4, dhcp6, ra *bool) { e.DHCP4, e.DHCP6, e.RA = dhcp4, dhcp6, ra }

func on(b *bool) bool { return b != nil && *b }

func truth(b bool) *bool { return &b }
