// Package resolvconf composes a resolv.conf (resolv.conf(5)) of what several network
// interfaces learned.
//
// Each server must answer every name: there is no routing of names to the
// servers of one interface.
package resolvconf

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Marker is the first line of the file. PID 1 and the pod time know ours by its
// first words.
const Marker = "# Written by kiOS. To use a file of your own, put it in place of the link /etc/resolv.conf."

// IsOurs reports whether the text is a file of this package, or the one that PID 1
// makes before there is one.
func IsOurs(text []byte) bool { return bytes.HasPrefix(text, []byte("# Written by kiOS")) }

// The kubelet hands 32 domains and 2048 characters on to a pod, three domains of the
// cluster among them, and warns for each pod when that is not enough.
const (
	maxServers     = 3 // what the C library and the kubelet read
	maxSearch      = 32 - 3
	maxSearchChars = 2048 - 256
)

// Source is what one interface learned in one way.
type Source struct {
	Servers []netip.Addr
	Search  []string
	Static  bool // a user wrote it: none of its servers gives way to another's
}

// Render returns the file for the sources, earlier ones first.
func Render(sources []Source) []byte {
	search := searchList(sources)
	var b bytes.Buffer
	fmt.Fprintln(&b, Marker)
	if len(search) > 0 {
		fmt.Fprintln(&b, "search", strings.Join(search, " "))
	}
	for _, a := range choose(sources) {
		fmt.Fprintln(&b, "nameserver", a)
	}
	return b.Bytes()
}

// searchList returns the domains to write. One that does not fit is left out.
func searchList(sources []Source) (search []string) {
	chars := 0
	for _, s := range sources {
		for _, d := range s.Search {
			d = strings.ToLower(d)
			if len(search) == maxSearch || chars+1+len(d) > maxSearchChars || slices.Contains(search, d) {
				continue
			}
			search = append(search, d)
			chars += 1 + len(d)
		}
	}
	return search
}

// choose returns the servers to write: the first three. If these are all of
// one family, the third gives its place to the first of the other family: a
// third server of a family helps when two have failed at once, but one of the
// other family helps when the first family has lost its way out, which is what
// happens (a router that forgot IPv6, a DHCPv4 lease that ran out). It stays
// the last one, because the C library asks in order and waits for each.
//
// Servers with an address of the link only come after all others, unless the user
// wrote them: pods inherit the file, and have no interface of the name in the
// address.
func choose(sources []Source) []netip.Addr {
	var servers []netip.Addr
	var static int // how many of the servers, which are the first ones
	for _, s := range sources {
		for _, a := range s.Servers {
			if a = a.Unmap(); slices.Contains(servers, a) {
				continue
			}
			servers = append(servers, a)
			if s.Static && static == len(servers)-1 {
				static++
			}
		}
	}
	slices.SortStableFunc(servers[static:], func(a, b netip.Addr) int { return ofLink(a) - ofLink(b) })
	if len(servers) <= maxServers {
		return servers
	}
	first := servers[0].Is4()
	other := slices.IndexFunc(servers, func(a netip.Addr) bool { return a.Is4() != first })
	if other >= maxServers && static < maxServers {
		servers[maxServers-1] = servers[other]
	}
	return servers[:maxServers]
}

// ofLink is 1 for an address that is valid on one link only.
func ofLink(a netip.Addr) int {
	if a.IsLinkLocalUnicast() && a.Is6() {
		return 1
	}
	return 0
}
