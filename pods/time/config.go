package chrony

import (
	"fmt"
	"path/filepath"
	"strings"
)

// config returns chronyd's configuration (chrony.conf(5)) but for the servers,
// which are in a file of their own, because they change while it runs.
func (s *Service) config(c choice) string {
	ptp := c.ptp && s.clock != nil
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("sourcedir %s", s.sourceDir())

	// Nothing listens: no NTP server, no commands over UDP.
	line("port 0")
	line("cmdport 0")
	line("bindcmdaddress %s", s.commandSocket())
	line("pidfile /")

	// In the first three updates any offset over 0.1 s is stepped, be it 50
	// years. After that the clock is only ever slewed; see tooFarBehind.
	line("makestep 0.1 3")
	switch {
	case !s.isDoubtful(c):
	case s.confirm:
		line("minsources 2")
	default:
		line("maxchange %d 0 -1", int(farOff.Seconds()))
	}
	if c.isAuthenticated() {
		// Nothing else may set the clock, whatever becomes a source.
		line("authselectmode require")
	}
	// The kernel copies the clock to the RTC every eleven minutes.
	line("rtcsync")
	line("driftfile %s", filepath.Join(s.StateDir, "drift"))

	// NTS: with the node's certificates, the user's changes included. On a
	// machine without a battery the clock is years behind, and no certificate
	// valid yet, until the first update.
	line("ntsdumpdir %s", s.StateDir)
	line("nosystemcert")
	line("ntstrustedcerts %s", filepath.Join(s.Etc, "ssl/certs/ca-certificates.crt"))
	line("nocerttimecheck 1")

	if ptp {
		// A host's clock is read within a microsecond, but may itself be some
		// milliseconds off. With a delay of 0.1 s such a host still agrees with
		// servers, and does not keep both sides from a majority. It is preferred
		// because it is close, and its word counts more than that of servers
		// from DHCP: whoever owns the host owns the guest. Each reading is the
		// best of several already, so there is nothing to filter.
		line("refclock SOCK %s refid HOST poll 2 filter 1 precision 1e-6 delay 0.1 stratum 2 prefer trust", s.clockSocket())
	}
	return b.String()
}

// sourceFile returns the content of the file with the servers.
func sourceFile(sources []source) string {
	var b strings.Builder
	for _, s := range sources {
		fmt.Fprintln(&b, s.line())
	}
	return b.String()
}

// With /run for RunDir, chronyc finds chronyd where it looks first.
func (s *Service) sourceDir() string     { return filepath.Join(s.RunDir, "sources") }
func (s *Service) configFile() string    { return filepath.Join(s.RunDir, "chrony.conf") }
func (s *Service) commandSocket() string { return filepath.Join(s.RunDir, "chrony/chronyd.sock") }
func (s *Service) clockSocket() string   { return filepath.Join(s.RunDir, "chrony/clock.sock") }

// bootFile holds the ID of the boot in which the clock was last right.
func (s *Service) bootFile() string { return filepath.Join(s.RunDir, "synchronised") }
