//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/netlab"
)

// lab is a network of the test's own: a namespace with the interface "lan", at
// whose other end a machine's network card is, and servers in it. Nothing of it
// reaches any other network.
type lab struct {
	t    *testing.T
	name string
	tap  *os.File
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, name: fmt.Sprintf("kios-e2e-%d-%s", os.Getpid(), strings.ToLower(t.Name()))}
	netlab.Run(l.t, "ip", "netns", "add", l.name)
	t.Cleanup(func() { netlab.Run(l.t, "ip", "netns", "del", l.name) })
	l.ip("tuntap", "add", "lan", "mode", "tap")
	l.ip("addr", "add", "10.78.0.1/24", "dev", "lan")
	l.ip("addr", "add", "fd00:78::1/64", "dev", "lan", "nodad")
	l.ip("link", "set", "lan", "up")
	l.ip("link", "set", "lo", "up")
	l.tap = netlab.OpenTap(t, l.name, "lan")
	t.Cleanup(func() { l.tap.Close() })
	return l
}

func (l *lab) ip(args ...string) {
	l.t.Helper()
	netlab.Run(l.t, "ip", append([]string{"-n", l.name}, args...)...)
}

// serve starts a program in the lab that ends with the test.
func (l *lab) serve(argv ...string) *netlab.Process {
	l.t.Helper()
	return netlab.Start(l.t, l.name, nil, argv...)
}

// dhcp serves IPv4 and IPv6, names the machine, and tells of the time server.
func (l *lab) dhcp(hostname string) *netlab.Process {
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
