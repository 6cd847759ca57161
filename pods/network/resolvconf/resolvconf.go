// Package resolvconf writes /etc/resolv.conf (resolv.conf(5)) from what several
// network interfaces learned, and leaves alone a file that somebody else wrote.
//
// Each server must answer every name: there is no routing of names to the
// servers of one interface.
package resolvconf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"kios/internal/wholefile"
)

// Marker is the first line of a file that this package may replace. The file
// that the OS ships starts with it, too: the kubelet starts no pod while there
// is no resolv.conf at all.
const Marker = "# Written by kiOS from DHCP. Without this line, the file is yours and stays as it is."

// ErrForeign says that the file is the user's.
var ErrForeign = errors.New("it does not start with the line that marks it as ours")

const (
	maxServers = 3  // what the C library and the kubelet read
	maxSearch  = 32 // what the kubelet hands on to pods
)

// Source is what one interface learned in one way.
type Source struct {
	Servers []netip.Addr
	Search  []string
	Static  bool // a user wrote it: none of its servers gives way to another's
}

// Render returns the file for the sources, earlier ones first.
func Render(sources []Source) []byte {
	var search []string
	for _, s := range sources {
		for _, d := range s.Search {
			if d = strings.ToLower(d); len(search) < maxSearch && !slices.Contains(search, d) {
				search = append(search, d)
			}
		}
	}
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

// choose returns the servers to write: the first three. If these are all of
// one family, the third gives its place to the first of the other family: a
// third server of a family helps when two have failed at once, but one of the
// other family helps when the first family has lost its way out, which is what
// happens (a router that forgot IPv6, a DHCPv4 lease that ran out). It stays
// the last one, because the C library asks in order and waits for each.
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

// Write makes content the file at path, if it is absent or ours, and otherwise
// returns an error that wraps ErrForeign. Readers see the old file or the new
// one: it is replaced by a rename, so path must not itself be a mount point.
func Write(path string, content []byte) error {
	old, err := ours(path)
	if err != nil {
		return err
	}
	if bytes.Equal(old, content) {
		return nil
	}
	return wholefile.Durable(path, content, 0o644)
}

// ours returns the content of a file that may be replaced, nil if there is none.
func ours(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is left as it is: %w", path, ErrForeign)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if line, _, _ := bytes.Cut(content, []byte("\n")); string(line) != Marker {
		return nil, fmt.Errorf("%s is left as it is: %w", path, ErrForeign)
	}
	return content, nil
}
