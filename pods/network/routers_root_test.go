//go:build root

package network

import (
	"strings"
	"testing"
	"time"

	"kios/test/lab"
)

// The kernel does not repeat what routers said about DNS: a pod that restarts while
// the router is silent knows it from before.
func TestRestartKeepsServersOfRouters(t *testing.T) {
	l := newLAN(t)
	l.run("ip", "-n", l.server, "addr", "add", "fd77::1/64", "dev", "srv", "nodad")
	conf := l.path("radvd.conf")
	lab.WriteFile(t, conf, "interface srv { AdvSendAdvert on; IgnoreIfMissing on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;\n"+
		"prefix fd77::/64 { }; RDNSS fd77::53 { AdvRDNSSLifetime 600; FlushRDNSS off; }; DNSSL lab.example { AdvDNSSLLifetime 600; FlushDNSSL off; }; };\n")
	router := l.start(l.server, "radvd", "-n", "-m", "stderr", "-C", conf, "-p", l.path("radvd.pid"))
	l.startService("eth0")
	known := func() bool {
		return strings.Contains(l.resolver(), "search lab.example\n") && strings.Contains(l.resolver(), "nameserver fd77::53\n")
	}
	l.eventually("the server and the domain of the router", 10*time.Second, known)
	router.Stop()
	l.service.Stop()
	l.startDNSMasq("--dhcp-option=6,10.77.0.1")
	l.startService("eth0")
	l.eventually("a server by DHCP", 10*time.Second, func() bool { return strings.Contains(l.resolver(), "nameserver 10.77.0.1\n") })
	if !known() {
		t.Errorf("the router's server and domain are gone:\n%s", l.resolver())
	}
}
