package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"kios/pods/network/hostaddr"
)

// optionClassless249 is where servers put classless routes before RFC 3442 had a
// number for them; some still do.
const optionClassless249 = dhcpv4.GenericOptionCode(249)

var everywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// routes returns the classless routes, or, only if there are none (RFC 3442 is
// strict about that), the default route through the first router and the static
// routes of RFC 2132.
func (r *reader) routes() []Route {
	for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionClasslessStaticRoute, optionClassless249} {
		if raw := r.option(code); raw != nil {
			return r.classless(raw)
		}
	}
	return append(r.router(), r.static()...)
}

// router returns the default route through the first router.
func (r *reader) router() []Route {
	routers := r.servers("router", dhcpv4.OptionRouter)
	if len(routers) == 0 {
		return nil
	}
	return []Route{{To: everywhere, Via: routers[0]}}
}

// classless reads the routes of RFC 3442. A mistake ends them, because nobody knows
// where the next one begins. Those before it count, and so does the router if no
// default route is among them.
func (r *reader) classless(raw []byte) []Route {
	var routes []Route
	for len(raw) > 0 {
		route, rest, err := nextRoute(raw)
		if err == nil && len(routes) == maxRoutes {
			err = fmt.Errorf("there are more than %d", maxRoutes)
		}
		if err != nil {
			r.faults.Add("its routes are read up to a mistake: %v", err)
			return r.withRouter(routes)
		}
		routes, raw = r.addRoute(routes, route), rest
	}
	return routes
}

func (r *reader) withRouter(routes []Route) []Route {
	if slices.ContainsFunc(routes, func(o Route) bool { return o.To == everywhere }) {
		return routes
	}
	return append(routes, r.router()...)
}

// nextRoute reads the first route of raw, and returns what follows it.
func nextRoute(raw []byte) (Route, []byte, error) {
	bits := int(raw[0])
	if bits > 32 {
		return Route{}, nil, fmt.Errorf("a mask of %d bits", bits)
	}
	significant := (bits + 7) / 8
	end := 1 + significant + 4
	if len(raw) < end {
		return Route{}, nil, errors.New("the last one is cut off")
	}
	var to [4]byte
	copy(to[:], raw[1:1+significant])
	via, _ := netip.AddrFromSlice(raw[1+significant : end])
	return Route{To: netip.PrefixFrom(netip.AddrFrom4(to), bits).Masked(), Via: via}, raw[end:], nil
}

// addRoute adds a route if there can be a gateway like that. 0.0.0.0 means that
// there is none: the destination is on the link (RFC 3442).
func (r *reader) addRoute(routes []Route, route Route) []Route {
	if route.Via.IsUnspecified() {
		route.Via = netip.Addr{}
	} else if !hostaddr.Valid(route.Via) {
		r.faults.Add("its route to %s is left out: %s is no address for a gateway", route.To, route.Via)
		return routes
	}
	return append(routes, route)
}

// static reads option 33: pairs of a destination, whose class says how long it is
// unless it is a single host, and a gateway.
func (r *reader) static() []Route {
	raw := r.option(dhcpv4.OptionStaticRoutingTable)
	if len(raw)%8 != 0 {
		r.faults.Add("its static routes end in the middle of one")
	}
	var routes []Route
	for ; len(raw) >= 8 && len(routes) < maxRoutes; raw = raw[8:] {
		to, ok := hostaddr.FromIPv4(raw[:4])
		via, _ := netip.AddrFromSlice(raw[4:8])
		if !ok || via.IsUnspecified() {
			r.faults.Add("its static route to %s via %s is left out", to, via)
			continue
		}
		subnet := netip.PrefixFrom(to, classOf(to))
		if subnet != subnet.Masked() {
			subnet = netip.PrefixFrom(to, 32)
		}
		routes = r.addRoute(routes, Route{To: subnet, Via: via})
	}
	return routes
}
