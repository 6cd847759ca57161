package network

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kios/pods/network/netconf"
)

// acceptRA makes the kernel take IPv6 router advertisements on the interface
// even though the machine forwards packets, or take none. Only here, not as a
// default for all interfaces: a pod must not be able to give the node a route
// through itself. It reports whether it is news to the kernel that it may.
func (p *port) acceptRA() (news bool, err error) {
	if !p.conf.RA {
		_, err := p.setSysctl6("accept_ra", "0")
		return false, err
	}
	var errs []error
	for name, value := range raSettings(p.conf) {
		_, err := p.setSysctl6(name, value)
		errs = append(errs, err)
	}
	news, err = p.setSysctl6("accept_ra", "2")
	return news, errors.Join(append(errs, err)...)
}

// resetRA gives the interface's settings for advertisements the values that new
// interfaces have: who gets it now must not get routes from strangers.
func (p *port) resetRA() error {
	fresh := &port{service: p.service, link: link{name: "default"}}
	var errs []error
	for name := range raSettings(p.conf) {
		errs = append(errs, p.copySysctl6(fresh, name))
	}
	return errors.Join(append(errs, p.copySysctl6(fresh, "accept_ra"))...)
}

func (p *port) copySysctl6(from *port, name string) error {
	value, err := os.ReadFile(from.sysctl6(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = p.setSysctl6(name, strings.TrimSpace(string(value)))
	}
	return err
}

// raSettings says what the kernel takes of an advertisement. See
// Documentation/networking/ip-sysctl.rst.
func raSettings(conf *netconf.Interface) map[string]string {
	routes := conf.Takes(netconf.Routes)
	metric := conf.Metric
	if metric == 0 {
		metric = baseMetric // the kernel's own
	}
	length := "0"
	if routes {
		length = "128" // routes of any length (RFC 4191); the kernel's default is none
	}
	return map[string]string{
		"accept_ra_defrtr":           flag01(routes && conf.Takes(netconf.DefaultRoute)),
		"accept_ra_rt_info_max_plen": length,
		"accept_ra_mtu":              flag01(conf.Takes(netconf.MTU)),
		"ra_defrtr_metric":           strconv.Itoa(metric),
	}
}

func flag01(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// setSysctl6 sets one of the interface's settings of IPv6, unless the kernel does not
// have it, and reports whether that changed it.
func (p *port) setSysctl6(name, want string) (news bool, err error) {
	path := p.sysctl6(name)
	have, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil || strings.TrimSpace(string(have)) == want {
		return false, err
	}
	return true, os.WriteFile(path, []byte(want), 0)
}

// sysctl6 is the path of one of the interface's settings of IPv6.
func (p *port) sysctl6(name string) string {
	return filepath.Join(p.service.ProcSysNet, "ipv6/conf", p.link.name, name)
}
