package metadata

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"

	"kios/internal/userfile"
)

// resolver asks the name servers that the node's resolv.conf has now. The container's own
// file was made when the pod started, which may be before DHCP had an answer.
func resolver(root string) *net.Resolver {
	file := filepath.Join(root, "etc/resolv.conf")
	var turn atomic.Uint32
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		servers := nameservers(file)
		if len(servers) == 0 {
			return nil, errors.New("the node has no name servers yet")
		}
		// A server that does not answer gives way to the next one.
		server := servers[int(turn.Add(1))%len(servers)]
		var d net.Dialer
		return d.DialContext(ctx, network, netip.AddrPortFrom(server, 53).String())
	}}
}

// nameservers reads a file of the form of resolv.conf(5).
func nameservers(file string) (list []netip.Addr) {
	text, err := userfile.Read(file, userfile.Max)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, a)
		}
	}
	return list
}
