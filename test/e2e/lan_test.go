//go:build image

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab/netns"
)

// lan is a network of the test's own: a namespace with the interface "lan", at
// whose other end a machine's network card is, and servers in it. Nothing of it
// reaches any other network.
type lan struct {
	t    *testing.T
	name string
	tap  *os.File
}

func newLAN(t *testing.T) *lan {
	t.Helper()
	l := &lan{t: t, name: fmt.Sprintf("kios-e2e-%d-%s", os.Getpid(), strings.ToLower(t.Name()))}
	netns.Add(t, l.name)
	netns.IP(t, l.name, "tuntap", "add", "lan", "mode", "tap")
	netns.IP(t, l.name, "addr", "add", "10.78.0.1/24", "dev", "lan")
	netns.IP(t, l.name, "addr", "add", "fd00:78::1/64", "dev", "lan", "nodad")
	netns.IP(t, l.name, "link", "set", "lan", "up")
	l.tap = netns.OpenTap(t, l.name, "lan")
	return l
}

// serve starts a program in the lab that ends with the test.
func (l *lan) serve(argv ...string) *netns.Process {
	l.t.Helper()
	return netns.Start(l.t, l.name, nil, argv...)
}

// dhcp serves IPv4 and IPv6, names the machine, and tells of the time server.
func (l *lan) dhcp(hostname string) *netns.Process {
	dir := l.t.TempDir()
	return l.serve("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null", "--user=root",
		"--port=0", "--pid-file=", "--no-ping", "--interface=lan", "--bind-interfaces", "--enable-ra",
		"--dhcp-leasefile="+filepath.Join(dir, "leases"),
		"--dhcp-range=10.78.0.50,10.78.0.99,255.255.255.0,10m",
		"--dhcp-range=fd00:78::1000,fd00:78::1fff,64,10m",
		"--dhcp-host=52:54:00:4b:05:01,10.78.0.60,"+hostname,
		"--dhcp-option=option:ntp-server,10.78.0.1", "--dhcp-option=option:dns-server,10.78.0.1",
		"--dhcp-option=option6:dns-server,[fd00:78::1]", "--dhcp-option=option:domain-search,lab.example")
}
