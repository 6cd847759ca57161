package network

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Several cards with a gateway each, and often in one subnet, as clouds have it: the
// main routing table answers through the first card whatever address was asked, and the
// cloud drops what comes from a card that does not have its source address. So packets
// from an address of another card than the first leave through that card. For each such
// address A there are rules (ip-rule(8)), in this order:
//
//	from A to its subnet  a table of that card, if another card has the subnet, too
//	from A                the main table, but for its default routes: pods stay in reach
//	from A                the table of that card, which has its gateway
//
// The first card's address needs none. The numbers are above those of the network
// plugins, whose rules count before these.
const (
	ruleSubnet  = 32500
	ruleMain    = 32501
	ruleGateway = 32502

	sourceTables = protocol * 100_000 // and the index of the interface
)

// sourced is an interface's address, and how packets from it leave.
type sourced struct {
	index   int
	name    string
	address netip.Prefix
	gateway netip.Addr
	metric  int // of the default route in the main table
}

// sourceRoutes keeps rules and tables in step with the addresses of all interfaces.
type sourceRoutes struct {
	logf       func(format string, args ...any)
	procSysNet string

	mu      sync.Mutex
	opened  bool // what is there from before a restart stays until then
	from    map[int][]sourced
	problem string // said last
}

// set takes in the addresses of an interface in place of those of before.
func (r *sourceRoutes) set(index int, list []sourced) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(r.from[index], list) {
		return
	}
	r.from[index] = list
	r.sync()
}

// open begins to act.
func (r *sourceRoutes) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened = true
	r.sync()
}

// secondary returns the addresses that need rules: those of all interfaces but the
// one whose default route the kernel prefers.
func (r *sourceRoutes) secondary() (rest []sourced) {
	all := slices.Concat(slices.Collect(maps.Values(r.from))...)
	slices.SortFunc(all, func(a, b sourced) int {
		return cmp.Or(cmp.Compare(a.metric, b.metric), cmp.Compare(a.index, b.index), a.address.Compare(b.address))
	})
	for _, s := range all {
		if s.index != all[0].index {
			rest = append(rest, s)
		}
	}
	return rest
}

func (r *sourceRoutes) sync() {
	if !r.opened {
		return
	}
	var rules []netlink.Rule
	var errs []error
	tables := map[int]bool{}
	for _, s := range r.secondary() {
		tables[sourceTables+s.index] = true
		errs = append(errs, s.fillTable())
		others := r.sharing(s)
		for _, o := range others {
			r.answerForOwn(s.name)
			r.answerForOwn(o.name)
		}
		rules = append(rules, s.rules(len(others) > 0)...)
	}
	errs = append(errs, setRules(rules, tables))
	problem := ""
	if err := errors.Join(errs...); err != nil {
		problem = err.Error()
	}
	if problem != "" && problem != r.problem {
		r.logf("packets may leave through another card than their address is of: %s", problem)
	}
	r.problem = problem
}

// sharing returns the addresses of other interfaces in the same subnet.
func (r *sourceRoutes) sharing(s sourced) (others []sourced) {
	for index, list := range r.from {
		for _, o := range list {
			if index != s.index && o.address.Overlaps(s.address) {
				others = append(others, o)
			}
		}
	}
	return others
}

// answerForOwn makes the kernel answer ARP requests on the card of the address only:
// by its default, each card in the subnet answers for all.
func (r *sourceRoutes) answerForOwn(name string) {
	path := filepath.Join(r.procSysNet, "ipv4/conf", name, "arp_filter")
	if err := os.WriteFile(path, []byte("1"), 0); err != nil {
		r.logf("%s: %v", name, err)
	}
}

func (s sourced) rules(shared bool) []netlink.Rule {
	rule := func(priority, table int) netlink.Rule {
		r := *netlink.NewRule()
		r.Family, r.Priority, r.Table, r.Protocol = netlink.FAMILY_V4, priority, table, protocol
		r.Src = ipNet(netip.PrefixFrom(s.address.Addr(), 32))
		return r
	}
	subnet, main, gateway := rule(ruleSubnet, sourceTables+s.index), rule(ruleMain, unix.RT_TABLE_MAIN), rule(ruleGateway, sourceTables+s.index)
	subnet.Dst = ipNet(s.address.Masked())
	main.SuppressPrefixlen = 0
	if !shared {
		return []netlink.Rule{main, gateway}
	}
	return []netlink.Rule{subnet, main, gateway}
}

// fillTable sets the routes of the interface's table. They have no source, or the
// kernel would keep them when the address is gone.
func (s sourced) fillTable() error {
	base := netlink.Route{LinkIndex: s.index, Table: sourceTables + s.index, Protocol: protocol, Family: netlink.FAMILY_V4}
	want := []netlink.Route{
		routeTo(base, s.address.Masked(), netip.Addr{}, true),
		routeTo(base, netip.PrefixFrom(netip.IPv4Unspecified(), 0), s.gateway, s.address.Contains(s.gateway)),
	}
	for _, r := range want {
		if err := netlink.RouteReplace(&r); err != nil && !errors.Is(err, unix.ENETDOWN) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("%s: add route to %s via %s to table %d: %w", s.name, r.Dst, r.Gw, r.Table, err)
		}
	}
	return nil
}

// setRules makes want the rules of this program, and empties tables of it that are not
// in keep.
func setRules(want []netlink.Rule, keep map[int]bool) error {
	have, err := netlink.RuleList(netlink.FAMILY_V4)
	if errors.Is(err, unix.EOPNOTSUPP) && len(want) == 0 {
		return nil // a kernel without rules
	}
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	there := map[string]bool{}
	var errs []error
	for _, r := range have {
		if r.Protocol != protocol {
			continue
		}
		if there[ruleKey(r)] = true; slices.ContainsFunc(want, func(w netlink.Rule) bool { return ruleKey(w) == ruleKey(r) }) {
			continue
		}
		errs = append(errs, netlink.RuleDel(&r))
		if r.Table > sourceTables && !keep[r.Table] {
			errs = append(errs, emptyTable(r.Table))
		}
	}
	for _, r := range want {
		if !there[ruleKey(r)] {
			errs = append(errs, netlink.RuleAdd(&r))
		}
	}
	return errors.Join(errs...)
}

func ruleKey(r netlink.Rule) string {
	return fmt.Sprintf("%d %s %s %d", r.Priority, r.Src, r.Dst, r.Table)
}

func emptyTable(table int) error {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list table %d: %w", table, err)
	}
	var errs []error
	for _, r := range routes {
		if err := netlink.RouteDel(&r); !errors.Is(err, unix.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
