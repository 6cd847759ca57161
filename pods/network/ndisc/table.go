package ndisc

import (
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kios/pods/network/hostaddr"
	"kios/pods/network/lease"
)

const (
	solicitTries = 3               // MAX_RTR_SOLICITATIONS of RFC 4861
	solicitEvery = 4 * time.Second // RTR_SOLICITATION_INTERVAL

	// limit is how many servers, and how many domains, are kept for an
	// interface, so that nobody on the link can fill the memory. RFC 8106 asks
	// for three at least.
	limit = 16
)

// table is what is known about all interfaces. It does no I/O but through
// solicit.
type table struct {
	solicit func(index int) error
	links   map[int]*iface
	known   map[int]Event // from before a restart, until the interface is listed
}

type iface struct {
	link
	listed bool // by the dump that is under way
	state  Event
	sent   Event

	tries int           // solicitations sent
	next  time.Duration // when to send another one; Forever: not
}

// begin says that a list of all interfaces follows.
func (t *table) begin() {
	for _, i := range t.links {
		i.listed = false
	}
}

// end says that it is complete. What was advertised before and meanwhile may
// have been missed, so that the routers are asked.
func (t *table) end(now time.Duration) {
	for _, i := range t.links {
		if !i.listed {
			i.clear()
		}
		i.begin(now)
	}
}

// link takes in a message about an interface.
func (t *table) link(l link, now time.Duration) {
	i := t.links[l.index]
	if i == nil {
		if l.gone {
			return
		}
		i = &iface{state: Event{Index: l.index}, sent: Event{Index: l.index}, next: lease.Forever}
		if t.links == nil {
			t.links = map[int]*iface{}
		}
		t.links[l.index] = i
		t.recall(i, now)
	}
	i.update(l, now)
}

// recall gives a new interface what was known of it before a restart and is still
// valid. The kernel tells flags again, but servers and domains not. Who called Watch
// has that event: only what changes is news.
func (t *table) recall(i *iface, now time.Duration) {
	e, ok := t.known[i.state.Index]
	if !ok {
		return
	}
	delete(t.known, i.state.Index)
	i.state, i.sent = e, e
	i.expire(now)
}

func (i *iface) update(l link, now time.Duration) {
	had := i.carrier
	if !l.ipv6 { // keep what is known from other messages
		l.ipv6, l.managed, l.other, l.accepts = i.ipv6, i.managed, i.other, i.accepts
	}
	if l.name == "" {
		l.name = i.name
	}
	i.link, i.listed = l, true
	if l.gone || !l.up {
		i.clear()
		return
	}
	i.state.Managed, i.state.Other = l.managed, l.other
	if !l.carrier {
		i.next = lease.Forever
	} else if !had {
		i.begin(now)
	}
}

// clear forgets everything: the kernel does so, too, when an interface goes
// down or away.
func (i *iface) clear() {
	i.link = link{index: i.index, name: i.name, gone: i.gone || !i.listed}
	i.state = Event{Index: i.index}
	i.next = lease.Forever
}

// begin starts to solicit.
func (i *iface) begin(now time.Duration) {
	if i.carrier && i.accepts {
		i.tries, i.next = 0, now
	}
}

// option takes in an option of an advertisement.
func (t *table) option(o option, now time.Duration) {
	i := t.links[o.index]
	if i == nil || !i.up {
		return
	}
	i.next = lease.Forever // somebody answers
	expiry := lease.Forever
	if o.lifetime != lease.Forever {
		expiry = now + o.lifetime
	}
	for _, a := range o.servers {
		i.server(Server{a, expiry}, now)
	}
	for _, d := range o.domains {
		i.domain(Domain{d, expiry}, now)
	}
}

func (i *iface) server(s Server, now time.Duration) {
	s.Addr = hostaddr.OnLink(s.Addr, i.name)
	same := func(o Server) bool { return o.Addr == s.Addr }
	expiry := func(s Server) time.Duration { return s.Expiry }
	i.state.DNS = put(i.state.DNS, s, same, expiry, now)
}

func (i *iface) domain(d Domain, now time.Duration) {
	same := func(o Domain) bool { return o.Name == d.Name }
	expiry := func(d Domain) time.Duration { return d.Expiry }
	i.state.Search = put(i.state.Search, d, same, expiry, now)
}

// put returns a copy of list, because events share the old one, in which entry
// stands in its old place or at the end, or nowhere if it has expired. A list
// that grows too long loses what expires first.
func put[E any](list []E, entry E, same func(E) bool, expiry func(E) time.Duration, now time.Duration) []E {
	list = slices.Clone(list)
	if at := slices.IndexFunc(list, same); at >= 0 {
		list[at] = entry
	} else {
		list = append(list, entry)
	}
	list = slices.DeleteFunc(list, func(e E) bool { return expiry(e) <= now })
	if len(list) > limit {
		first := 0
		for n, e := range list {
			if expiry(e) < expiry(list[first]) {
				first = n
			}
		}
		list = slices.Delete(list, first, first+1)
	}
	return list
}

// wake returns when tick is to be called next.
func (t *table) wake() time.Duration {
	wake := lease.Forever
	for _, i := range t.links {
		wake = min(wake, i.next)
		for _, s := range i.state.DNS {
			wake = min(wake, s.Expiry)
		}
		for _, d := range i.state.Search {
			wake = min(wake, d.Expiry)
		}
	}
	return wake
}

// tick does what is due.
func (t *table) tick(now time.Duration) {
	for _, i := range t.links {
		i.expire(now)
		if i.next <= now {
			t.ask(i, now)
		}
	}
}

func (i *iface) expire(now time.Duration) {
	server := func(s Server) bool { return s.Expiry <= now }
	if slices.ContainsFunc(i.state.DNS, server) {
		i.state.DNS = slices.DeleteFunc(slices.Clone(i.state.DNS), server)
	}
	domain := func(d Domain) bool { return d.Expiry <= now }
	if slices.ContainsFunc(i.state.Search, domain) {
		i.state.Search = slices.DeleteFunc(slices.Clone(i.state.Search), domain)
	}
}

// ask sends a solicitation, or gives up. Without a usable address there is
// nothing to do: the kernel solicits by itself as soon as it has made one.
func (t *table) ask(i *iface, now time.Duration) {
	if i.tries == solicitTries {
		i.next = lease.Forever
		return
	}
	i.tries++
	i.next = now + solicitEvery
	err := t.solicit(i.index)
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EPERM) {
		i.next = lease.Forever
	}
}

// changed reports whether take has anything to do.
func (t *table) changed() bool {
	for _, i := range t.links {
		if i.gone || !i.state.equal(i.sent) {
			return true
		}
	}
	return false
}

// take returns the interfaces that changed since it was called last.
func (t *table) take() []Event {
	var events []Event
	for _, index := range slices.Sorted(maps.Keys(t.links)) {
		i := t.links[index]
		if !i.state.equal(i.sent) {
			events = append(events, i.state)
			i.sent = i.state
		}
		if i.gone {
			delete(t.links, index)
		}
	}
	return events
}

func (e Event) equal(o Event) bool {
	return e.Managed == o.Managed && e.Other == o.Other &&
		slices.Equal(e.DNS, o.DNS) && slices.Equal(e.Search, o.Search)
}
