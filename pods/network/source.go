package network

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Several cards with a gateway each, and often in one subnet, as clouds have it: the
// main routing table answers through the card of its default route whatever address was
// asked, and the cloud drops what comes from a card that does not have its source
// address. So packets leave through the card that has their source address. Which card
// the main table prefers is not guessed: the user, a plugin or another default route may
// have changed that, so as soon as two cards have a gateway, all their addresses have
// rules. For each address A there are rules (ip-rule(8)), in this order:
//
//	from A to a subnet    the table of A's card, for subnets that another card has
//	from A                the main table, but for its default routes: pods stay in reach
//	from A                the table of A's card, which has its gateway
//
// The numbers are above those of the network plugins, whose rules count before these.
const (
	ruleSubnet  = 32500
	ruleMain    = 32501
	ruleGateway = 32502

	sourceTables = protocol * 100_000 // and the index of the interface
)

// card is an interface's IPv4 addresses, and how packets from them leave.
type card struct {
	index     int
	name      string
	addresses []netip.Prefix
	gateway   netip.Addr // not valid: packets leave as the main table has it
}

func (c card) table() int { return sourceTables + c.index }

// sourceRoutes keeps rules and tables in step with the addresses of all interfaces.
type sourceRoutes struct {
	logf       func(format string, args ...any)
	procSysNet string

	mu       sync.Mutex
	opened   bool // what is there from before a restart stays until then
	cards    map[int]card
	filtered map[string]bool // cards that answer ARP for their own addresses only
	problem  string          // said last
}

// set takes in an interface in place of what it was before.
func (r *sourceRoutes) set(c card) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortFunc(c.addresses, netip.Prefix.Compare)
	c.addresses = slices.Compact(c.addresses)
	if reflect.DeepEqual(r.cards[c.index], c) {
		return
	}
	r.cards[c.index] = c
	r.sync()
}

// forget ends what was set for an interface.
func (r *sourceRoutes) forget(index int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.cards[index]; there {
		delete(r.cards, index)
		r.sync()
	}
}

// open begins to act.
func (r *sourceRoutes) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened = true
	for _, c := range r.cards {
		r.filtered[c.name] = true // perhaps, from before a restart
	}
	r.sync()
}

// restore sets what went with an interface that was set down.
func (r *sourceRoutes) restore() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sync()
}

// ruled returns the cards that need rules, in order: those with a gateway, if there are
// several.
func (r *sourceRoutes) ruled() []card {
	without := func(c card) bool { return !c.gateway.IsValid() || len(c.addresses) == 0 }
	cards := slices.DeleteFunc(slices.Collect(maps.Values(r.cards)), without)
	if len(cards) < 2 {
		return nil
	}
	return slices.SortedFunc(slices.Values(cards), func(a, b card) int { return a.index - b.index })
}

func (r *sourceRoutes) sync() {
	if !r.opened {
		return
	}
	var rules []netlink.Rule
	var errs []error
	tables, filter := map[int]bool{}, map[string]bool{}
	for _, c := range r.ruled() {
		tables[c.table()] = true
		errs = append(errs, c.fillTable())
		for _, a := range c.addresses {
			rules = append(rules, c.rules(a, r.subnets(c, a, filter))...)
		}
	}
	errs = append(errs, setRules(rules, tables))
	r.answerForOwn(filter)
	r.complain(errors.Join(errs...))
}

func (r *sourceRoutes) complain(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != "" && problem != r.problem {
		r.logf("packets may leave through another card than their address is of: %s", problem)
	}
	r.problem = problem
}

// subnets returns the subnets of other interfaces to which packets from the address
// must not leave through these, and its own if another one has it, too. It notes in
// filter which cards share a subnet.
func (r *sourceRoutes) subnets(c card, a netip.Prefix, filter map[string]bool) (list []netip.Prefix) {
	for _, o := range r.cards {
		if o.index == c.index {
			continue
		}
		for _, other := range o.addresses {
			list = append(list, other.Masked())
			if other.Overlaps(a) {
				list = append(list, a.Masked())
				filter[c.name], filter[o.name] = true, true
			}
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

// answerForOwn makes the kernel answer ARP requests on the card of the address only: by
// its default, each card in the subnet answers for all. Cards that need that no more
// get the default again.
func (r *sourceRoutes) answerForOwn(filter map[string]bool) {
	for name := range filter {
		r.logError(name, r.setFilter(name, "1"))
	}
	for name := range r.filtered {
		if filter[name] {
			continue
		}
		value, err := os.ReadFile(r.filterOf("default"))
		if err == nil {
			err = r.setFilter(name, strings.TrimSpace(string(value)))
		}
		r.logError(name, err)
	}
	r.filtered = filter
}

func (r *sourceRoutes) filterOf(name string) string {
	return filepath.Join(r.procSysNet, "ipv4/conf", name, "arp_filter")
}

func (r *sourceRoutes) setFilter(name, want string) error {
	have, err := os.ReadFile(r.filterOf(name))
	if err != nil || strings.TrimSpace(string(have)) == want {
		return err
	}
	return os.WriteFile(r.filterOf(name), []byte(want), 0)
}

// logError logs an error, unless it is that the interface is gone.
func (r *sourceRoutes) logError(name string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.logf("%s: %v", name, err)
	}
}

// rules are those of one address of the card.
func (c card) rules(a netip.Prefix, subnets []netip.Prefix) (rules []netlink.Rule) {
	rule := func(priority, table int) *netlink.Rule {
		r := netlink.NewRule()
		r.Family, r.Priority, r.Table, r.Protocol = netlink.FAMILY_V4, priority, table, protocol
		r.Src = ipNet(netip.PrefixFrom(a.Addr(), 32))
		return r
	}
	for _, subnet := range subnets {
		r := rule(ruleSubnet, c.table())
		r.Dst = ipNet(subnet)
		rules = append(rules, *r)
	}
	main := rule(ruleMain, unix.RT_TABLE_MAIN)
	main.SuppressPrefixlen = 0
	return append(rules, *main, *rule(ruleGateway, c.table()))
}

// routes are those of the card's table. They have no source, or the kernel would keep
// them when the address is gone.
func (c card) routes() (routes []netlink.Route) {
	base := netlink.Route{LinkIndex: c.index, Table: c.table(), Protocol: protocol, Family: netlink.FAMILY_V4}
	reached := false
	for _, a := range c.addresses {
		routes = append(routes, routeTo(base, a.Masked(), netip.Addr{}, true))
		reached = reached || a.Contains(c.gateway)
	}
	return append(routes, routeTo(base, netip.PrefixFrom(netip.IPv4Unspecified(), 0), c.gateway, reached))
}

// fillTable makes the routes of the card's table those that it is to have.
func (c card) fillTable() error {
	keep := map[string]bool{}
	var errs []error
	for _, r := range c.routes() {
		keep[routeKey(r)] = true
		if err := netlink.RouteReplace(&r); err != nil && !errors.Is(err, unix.ENETDOWN) && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("%s: add route to %s via %s to table %d: %w", c.name, r.Dst, r.Gw, r.Table, err))
		}
	}
	return errors.Join(append(errs, emptyTable(c.table(), keep))...)
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
			errs = append(errs, emptyTable(r.Table, nil))
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

// emptyTable removes all routes of the table but those in keep.
func emptyTable(table int, keep map[string]bool) error {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list table %d: %w", table, err)
	}
	var errs []error
	for _, r := range routes {
		if keep[routeKey(r)] {
			continue
		}
		if err := netlink.RouteDel(&r); !errors.Is(err, unix.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
