package network

import (
	"context"
	"errors"
	"log"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"kios/internal/boottime"
	"kios/internal/control"
	"kios/internal/ratelimit"
	"kios/internal/userfile"
	"kios/pods/network/dhcp"
	"kios/pods/network/dhcp6"
	"kios/pods/network/hostaddr"
	"kios/pods/network/ndisc"
	"kios/pods/network/resolvconf"
)

const resolvConf = "resolv.conf"

// learned is what one interface contributes to the whole machine.
type learned struct {
	DNS      []netip.Addr
	Search   []string
	NTP      []string
	Hostname string
}

// origin is where it comes from, in the order of preference.
type origin int

const (
	byFile origin = iota
	byDHCP4
	byDHCP6
	byRouter
	origins
)

func learned4(l *dhcp.Lease) learned {
	return learned{DNS: l.DNS, Search: l.Search, NTP: hostaddr.Strings(l.NTP), Hostname: l.Hostname}
}

func learned6(l *dhcp6.Lease) learned {
	return learned{DNS: l.DNS, Search: l.Search, NTP: hostaddr.Strings(l.NTP)}
}

func learnedRA(e ndisc.Event) learned {
	var l learned
	for _, s := range e.DNS {
		l.DNS = append(l.DNS, s.Addr)
	}
	for _, d := range e.Search {
		l.Search = append(l.Search, d.Name)
	}
	return l
}

// offers keeps the files for the whole machine in step with what all interfaces
// have learned, in the state directory: "resolv.conf", "ntp", with a server in each
// line, and "hostname". The latter two are absent when there is nothing to say.
type offers struct {
	log     *log.Logger
	dir     string  // in memory, where writing does not take long
	last    *keeper // of a copy of resolv.conf
	control string

	mu        sync.Mutex
	ctx       context.Context // set once it is open
	sources   map[int]*[origins]learned
	published texts
	pace      ratelimit.Limit // of new texts
	later     *time.Timer     // publishes what came too soon; nil if nothing did
	name      string          // the hostname on offer
	names     ratelimit.Limit // of names that PID 1 is told
	waiting   bool            // a name has to wait for that, and the log says so
	tell      context.CancelFunc
}

// How often PID 1 is told a name: each one starts the kubelet again, and a server can send
// another one with each lease. PID 1 takes a few more, so that it refuses none of these.
const (
	nameEvery = 10 * time.Minute
	nameBurst = 3
)

// texts is what the files say.
type texts struct{ resolver, ntp, hostname string }

func newOffers(s *Service) *offers {
	return &offers{
		log: s.Log,
		dir: s.StateDir,
		last: newKeeper(s.Log, filepath.Join(s.LastDir, resolvConf),
			"after a reboot, pods that start before the network find no name servers"),
		control: s.Control,
		sources: map[int]*[origins]learned{},
		pace:    ratelimit.Limit{Every: 3 * time.Second, Burst: 10}, // a boot with some interfaces takes a few
		names:   ratelimit.Limit{Every: nameEvery, Burst: nameBurst},
		tell:    func() {},
	}
}

// open begins to write. Until then, only what is known from before a restart is
// collected: the files are still right.
func (o *offers) open(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ctx = ctx
	go o.last.run(ctx)
	for _, s := range o.sources {
		for _, l := range s {
			if len(l.DNS)+len(l.Search)+len(l.NTP) > 0 || l.Hostname != "" {
				o.publish()
				return
			}
		}
	}
}

// set takes in what the interface learned in one way.
func (o *offers) set(index int, from origin, l learned) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sources[index] == nil {
		o.sources[index] = &[origins]learned{}
	}
	o.sources[index][from] = l
	if o.ctx != nil {
		o.publish()
	}
}

// forget drops all that the interface brought.
func (o *offers) forget(index int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.sources, index)
	if o.ctx != nil {
		o.publish()
	}
}

// publish brings the files up to date, at once or, if they have changed a few times
// already, some seconds later: a router can change them as often as it likes.
func (o *offers) publish() {
	t := o.texts()
	if t != o.published {
		if wait := o.pace.Wait(boottime.Now()); wait > 0 {
			o.publishAfter(wait)
			return
		}
	}
	if t.resolver != o.published.resolver {
		o.last.keep(t.resolver)
	}
	o.published = t
	o.write(t)
}

func (o *offers) publishAfter(wait time.Duration) {
	if o.later != nil {
		return
	}
	o.later = time.AfterFunc(wait, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.later = nil; o.ctx.Err() == nil {
			o.publish()
		}
	})
}

func (o *offers) texts() texts {
	var t texts
	var sources []resolvconf.Source
	var ntp []string
	for _, l := range o.ordered() {
		sources = append(sources, resolvconf.Source{Servers: l.DNS, Search: l.Search, Static: l.static})
		for _, server := range l.NTP {
			if !slices.Contains(ntp, server) {
				ntp = append(ntp, server)
				t.ntp += server + "\n"
			}
		}
	}
	t.resolver = string(resolvconf.Render(sources))
	t.hostname = o.hostname()
	return t
}

func (o *offers) write(t texts) {
	if err := renew(filepath.Join(o.dir, resolvConf), t.resolver); err != nil {
		o.log.Printf("names will not resolve: %v", err)
	}
	o.writeState("ntp", t.ntp)
	if t.hostname != o.name {
		o.name = t.hostname
		o.writeState("hostname", line(t.hostname))
		o.announce(t.hostname)
	}
}

// line returns the text as a line, or "" if there is none.
func line(text string) string {
	if text == "" {
		return ""
	}
	return text + "\n"
}

// renew writes a file unless it holds the text.
func renew(path, text string) error {
	if holds(path, text) {
		return nil
	}
	return replace(path, []byte(text))
}

type source struct {
	learned
	static bool
}

// ordered returns all sources, those of the file first. What the file says about
// an interface replaces what the interface learned.
func (o *offers) ordered() []source {
	var static, rest []source
	for _, index := range slices.Sorted(maps.Keys(o.sources)) {
		s := *o.sources[index]
		static = append(static, source{s[byFile], true})
		for _, l := range s[byFile+1:] {
			if len(s[byFile].DNS) > 0 {
				l.DNS = nil
			}
			if len(s[byFile].Search) > 0 {
				l.Search = nil
			}
			if len(s[byFile].NTP) > 0 {
				l.NTP = nil
			}
			rest = append(rest, source{l, false})
		}
	}
	return append(static, rest...)
}

// writeState writes the text, or removes the file if there is none.
func (o *offers) writeState(name, text string) {
	path := filepath.Join(o.dir, name)
	var err error
	if text == "" {
		err = remove(path)
	} else {
		err = renew(path, text)
	}
	if err != nil {
		o.log.Printf("offer the %s of the network: %v", name, err)
	}
}

func holds(path, text string) bool {
	have, err := userfile.Read(path, userfile.Max)
	return err == nil && string(have) == text
}

// hostname returns the name that is offered. With several interfaces, the first
// one that came stays while it is offered: the node's name must not depend on
// whose lease is renewed last.
func (o *offers) hostname() string {
	var first string
	for _, index := range slices.Sorted(maps.Keys(o.sources)) {
		for _, l := range o.sources[index] {
			if l.Hostname != "" && l.Hostname == o.name {
				return o.name
			}
			if first == "" {
				first = l.Hostname
			}
		}
	}
	return first
}

// announce tells PID 1 about an offered name, in the background.
func (o *offers) announce(name string) {
	o.tell()
	ctx, cancel := context.WithCancel(o.ctx)
	o.tell = cancel
	if name == "" {
		return
	}
	if have, err := os.Hostname(); err == nil && have == name {
		return // it has the name already, and the server may only repeat it
	}
	go o.insist(ctx, name)
}

// insist tells PID 1 the name until it takes it, or refuses it for good: the user named
// the node, or its cluster knows it. It ends when another name comes.
func (o *offers) insist(ctx context.Context, name string) {
	for o.awaitTurn(ctx, name) {
		err := tell(ctx, o.control, name)
		_, refused := errors.AsType[control.Refusal](err)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			o.log.Printf("the network offers the hostname %s, and the node takes it", name)
			return
		case refused:
			o.log.Printf("the network offers the hostname %s, but the node does not take it: %v", name, err)
			return
		}
		o.log.Printf("the network offers the hostname %s, but the node does not take it yet: %v; it is told again in %s, if it is still offered then",
			name, err, o.names.Every)
		if !sleep(ctx, o.names.Every) {
			return
		}
	}
}

// awaitTurn waits until PID 1 may be told a name. It reports false when another name
// came meanwhile.
func (o *offers) awaitTurn(ctx context.Context, name string) bool {
	wait, first := o.turn()
	if first {
		o.log.Printf("the network offers many hostnames, %s for now: the node is told the latest one in %s", name, wait.Round(time.Second))
	}
	for ; wait > 0; wait, _ = o.turn() {
		if !sleep(ctx, wait) {
			return false
		}
	}
	return ctx.Err() == nil
}

// turn returns how long PID 1 may not be told a name yet, and whether this name is the
// first that has to wait for that: there may be one with each lease.
func (o *offers) turn() (wait time.Duration, first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	wait = o.names.Wait(boottime.Now())
	first = wait > 0 && !o.waiting
	o.waiting = wait > 0
	return wait, first
}

// tell tries a few times to get an answer: PID 1 may be busy moving the node onto its
// disk.
func tell(ctx context.Context, socket, name string) error {
	var err error
	for wait := time.Second; wait <= 16*time.Second; wait *= 2 {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err = control.Send(attempt, socket, name)
		cancel()
		_, refused := errors.AsType[control.Refusal](err)
		_, later := errors.AsType[control.Later](err)
		if err == nil || refused || later || !sleep(ctx, wait) {
			return err
		}
	}
	return err
}
