package provider

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"kios/internal/rfc1123"
	"kios/pods/metadata/want"
)

// facts are the paths of what a document says of a machine.
type facts struct {
	id, hostname, region, zone, kind string
	addresses                        []string
}

// fill takes from the document what the paths lead to.
func (f facts) fill(m *want.Machine, d document) {
	m.ID, m.Region, m.Zone, m.Type = clean(d.value(f.id)), clean(d.value(f.region)), clean(d.value(f.zone)), clean(d.value(f.kind))
	for _, path := range f.addresses {
		for _, text := range d.values(path) {
			m.Addresses = append(m.Addresses, addresses(text)...)
		}
	}
	// Where a machine has both, its private address is the one that others use.
	slices.SortStableFunc(m.Addresses, func(a, b netip.Addr) int { return rankAddress(a) - rankAddress(b) })
	m.Addresses = slices.Compact(m.Addresses)
}

func rankAddress(a netip.Addr) int {
	if a.IsPrivate() {
		return 0
	}
	return 1
}

// addresses reads those between white space, each perhaps with the length of a prefix.
func addresses(text string) []netip.Addr {
	var found []netip.Addr
	for word := range strings.FieldsSeq(text) {
		word, _, _ = strings.Cut(word, "/")
		if a, err := netip.ParseAddr(word); err == nil && a.Zone() == "" && !a.IsLinkLocalUnicast() && !a.IsUnspecified() && len(found) < maxItems {
			found = append(found, a)
		}
	}
	return found
}

const maxFact = 512

// clean returns s if it is a word such as ids are, or "".
func clean(s string) string {
	if len(s) > maxFact || strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`<>"`, r) }) >= 0 {
		return ""
	}
	return s
}

const maxHostname = 63 // what Linux takes

// hostname returns the name in lower case, without its domain where it is too long with it,
// or "" if it is none.
func hostname(name string) string {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if len(name) > maxHostname {
		name = short(name)
	}
	if len(name) > maxHostname || !rfc1123.IsSubdomain(name) {
		return ""
	}
	return name
}

func short(name string) string {
	first, _, _ := strings.Cut(name, ".")
	return first
}

// fillIn replaces {id}, {region}, {zone}, and {PATH} for values of the document. It is ""
// if one of these is.
func fillIn(template string, m *want.Machine, d document) string {
	var text strings.Builder
	for {
		before, rest, found := strings.Cut(template, "{")
		text.WriteString(before)
		if !found {
			return text.String()
		}
		var name string
		name, template, _ = strings.Cut(rest, "}")
		value := known(name, m, d)
		if value == "" {
			return ""
		}
		text.WriteString(value)
	}
}

func known(name string, m *want.Machine, d document) string {
	switch name {
	case "id":
		return m.ID
	case "region":
		return m.Region
	case "zone":
		return m.Zone
	}
	return clean(d.value(name))
}

// complete gives the machine its host name, and templates the names that cloud-init gives
// to all that: see Instance metadata in its documentation. Names have _ for the - of a cloud.
// fullName is the host name as the cloud says it.
func complete(m *want.Machine, d document, fullName string) {
	if m.Hostname == "" {
		m.Hostname = hostname(fullName)
	}
	m.Jinja = map[string]string{}
	flatten(m.Jinja, "ds.meta_data", map[string]any(d), 0)
	address := ""
	if i := slices.IndexFunc(m.Addresses, netip.Addr.Is4); i >= 0 {
		address = m.Addresses[i].String()
	}
	for key, value := range map[string]string{
		"local_hostname": fullName, "hostname": fullName, "instance_id": m.ID, "local_ipv4": address,
	} {
		give(m.Jinja, "ds.meta_data."+key, value)
	}
	for key, value := range map[string]string{
		"instance_id": m.ID, "local_hostname": short(fullName), "region": m.Region, "availability_zone": m.Zone,
	} {
		give(m.Jinja, "v1."+key, value)
		give(m.Jinja, key, value)
	}
}

// give sets a name, unless the cloud has said it itself.
func give(names map[string]string, name, value string) {
	if names[name] == "" && value != "" && len(names) < maxNames {
		names[name] = value
	}
}

const (
	maxNames  = 512
	maxName   = 128 // of each word: the words of a long one are in all names below it
	maxValue  = 4 << 10
	maxDepth  = 8
	maxListed = 8 // items of each list
)

// flatten gives each text of a document a name. User data are none: they are what the
// names are for.
func flatten(names map[string]string, prefix string, value any, depth int) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if name := identifier(key); depth < maxDepth && len(key) <= maxName && !isUserData(name) {
				flatten(names, prefix+"."+name, v[key], depth+1)
			}
		}
	case []any:
		for i, item := range v[:min(len(v), maxListed)] {
			if depth < maxDepth {
				flatten(names, fmt.Sprintf("%s.%d", prefix, i), item, depth+1)
			}
		}
	case string, json.Number, bool:
		if text := fmt.Sprint(v); len(text) <= maxValue {
			give(names, prefix, text)
		}
	}
}

func identifier(key string) string { return strings.ReplaceAll(key, "-", "_") }

func isUserData(name string) bool {
	return strings.Contains(name, "user_data") || strings.Contains(name, "userdata") || strings.EqualFold(name, "userData")
}

// unpack decodes base64 where a cloud always uses it. What is none stays as it is.
func unpack(text []byte) []byte {
	packed := strings.Join(strings.Fields(string(text)), "")
	if data, err := base64.StdEncoding.DecodeString(packed); err == nil {
		return data
	}
	return text
}
