//go:build root

package network

import (
	"os"
	"strings"
	"testing"
	"time"

	"kios/test/lab"
)

// startDHCPD runs ISC's server, which sends what it is told to.
func (l *lan) startDHCPD(options string) {
	l.t.Helper()
	conf, leases := l.path("dhcpd.conf"), l.path("dhcpd.leases")
	lab.WriteFile(l.t, conf, "default-lease-time 120;\nauthoritative;\n"+options+
		"subnet 10.77.0.0 netmask 255.255.255.0 { range 10.77.0.50 10.77.0.99; option routers 10.77.0.1; }\n")
	f, err := os.OpenFile(leases, os.O_CREATE, 0o644)
	lab.Must(l.t, err)
	f.Close()
	l.start(l.server, "dhcpd", "-4", "-d", "-cf", conf, "-lf", leases, "-pf", l.path("dhcpd.pid"), "srv")
}

// This server writes search lists with references to references.
func TestSearchListOfISC(t *testing.T) {
	l := newLAN(t)
	l.startDHCPD("option domain-search \"lab.example\", \"eng.lab.example\", \"x.eng.lab.example\";\n")
	l.startService("eth0")
	l.eventually("an address", 10*time.Second, l.hasAddress)
	l.eventually("resolv.conf", 5*time.Second, func() bool {
		return strings.Contains(l.resolver(), "\nsearch lab.example eng.lab.example x.eng.lab.example\n")
	})
}

// A lease is used as far as it can be.
func TestLeaseWithMistakes(t *testing.T) {
	l := newLAN(t)
	l.startDHCPD("option routes code 121 = string;\n" +
		"option routes 18:0a:09:00:0a:4d:00:01:00:0a:4d:00:01:ff;\n" +
		"option interface-mtu 68;\n" +
		"option host-name \"rack_7_node\";\n" +
		"option domain-name-servers 0.0.0.0, 10.77.0.1;\n")
	l.startService("eth0")
	l.eventually("an address", 10*time.Second, l.hasAddress)
	l.eventually("the routes", 5*time.Second, func() bool {
		return strings.Contains(l.routes(), "default via 10.77.0.1") && strings.Contains(l.routes(), "10.9.0.0/24 via 10.77.0.1")
	})
	l.eventually("the host name", 5*time.Second, func() bool { return l.read("state/hostname") == "rack-7-node\n" })
	for _, text := range []string{"not all that 10.77.0.1 says can be used: ", "its routes are read up to a mistake: a mask of 255 bits",
		"4 of 8 bytes with DNS servers are left out", "its MTU is left out", `its host name "rack_7_node" is changed to rack-7-node`} {
		l.eventually("a line about it", 5*time.Second, l.logged(text))
	}
}
