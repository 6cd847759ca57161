package network

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"kios/internal/boottime"
	"kios/internal/userfile"
	"kios/pods/filewatch"
	"kios/pods/network/ndisc"
	"kios/pods/network/netconf"
)

// Service configures the interfaces of the network namespace that it runs in.
type Service struct {
	Interfaces []string // names; none means each physical Ethernet interface
	File       string   // the user's network.yaml
	StateDir   string   // where leases, resolv.conf and other offers are kept until the machine goes down
	LastDir    string   // where copies of resolv.conf and of File are kept for the next boot
	MachineID  string   // /etc/machine-id
	Control    string   // the socket of PID 1 for offered names
	ProcSysNet string   // /proc/sys/net, writable
	Sysfs      string   // /sys
	Log        *log.Logger

	conf     *netconf.Config
	hardware hardware
	// decisions about interfaces that the file does not list, by index
	decisions map[int]decision
	latest    reading             // of the file
	last      *keeper             // of a copy of the file
	clean     *netconf.Config     // of the last file without a mistake
	blind     atomic.Bool         // the file cannot be used: what it may have asked for stays
	lent      map[int]*time.Timer // interfaces in somebody else's bridge or bond
	links     map[int]link
	ports     map[int]*port
	adverts   map[int]ndisc.Event
	store     *store
	offers    *offers
	sources   *sourceRoutes
	vacant    chan struct{} // an interface may have lost routes that others want
	failed    chan error
}

// Run configures interfaces until ctx ends. It leaves everything as it is then.
// An error means that it cannot go on; what causes trouble on one interface is
// logged instead.
func (s *Service) Run(ctx context.Context) error {
	s.ports, s.adverts, s.lent = map[int]*port{}, map[int]ndisc.Event{}, map[int]*time.Timer{}
	s.store = &store{dir: s.StateDir}
	var err error
	if s.hardware, err = openHardware(s.Sysfs, filepath.Join(s.StateDir, "devices")); err != nil {
		s.Log.Print(err)
	}
	s.offers = newOffers(s)
	s.decisions = map[int]decision{}
	s.sources = &sourceRoutes{logf: s.Log.Printf, procSysNet: s.ProcSysNet, cards: map[int]card{}, filtered: map[string]bool{}}
	s.failed, s.vacant = make(chan error, 1), make(chan struct{}, 1)
	s.last = newKeeper(s.Log, s.lastFile(), "keep a copy of "+s.File)
	go s.last.run(ctx)
	// Subscribe before listing what exists, so that nothing is missed in between.
	changes, err := watch(ctx)
	if err != nil {
		return err
	}
	edits, err := filewatch.File(ctx, s.File)
	if err != nil {
		s.Log.Printf("changes of %s need a restart of this pod: %v", s.File, err)
	}
	if s.links, err = list(); err != nil {
		return err
	}
	// Before interfaces are brought up, so that nothing that follows is missed.
	adverts, err := ndisc.Watch(ctx, s.recallRouters()...)
	if err != nil {
		s.Log.Printf("no DNS from IPv6 routers, and no DHCPv6: %v", err)
	}
	s.read(true)
	s.reconcileAll(ctx)
	s.releaseLeftovers()
	s.sources.open()
	s.offers.open(ctx)
	return s.loop(ctx, changes, adverts, edits)
}

// recallRouters returns what routers had said before a restart. It is on offer at
// once: resolv.conf stays as it is.
func (s *Service) recallRouters() []ndisc.Event {
	var known []ndisc.Event
	for _, l := range s.links {
		r, err := s.store.load(l.name, l.mac, boottime.Now())
		if err != nil || r.Routers == nil {
			continue
		}
		e := *r.Routers
		e.Index = l.index
		s.adverts[l.index] = e
		known = append(known, e)
	}
	return known
}

func (s *Service) loop(ctx context.Context, changes <-chan link, adverts <-chan ndisc.Event, edits <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.failed:
			return err
		case l, ok := <-changes:
			if ok {
				s.changed(ctx, l)
			} else if changes = s.catchUp(ctx); changes == nil {
				return lost(ctx, "the interfaces")
			}
		case <-s.vacant:
			s.fillVacant()
		case e, ok := <-adverts:
			if !ok {
				return lost(ctx, "IPv6 routers")
			}
			s.advertised(e)
		case _, ok := <-edits:
			if !ok {
				return lost(ctx, s.File)
			}
			s.reread(ctx)
		}
	}
}

// catchUp begins anew when the kernel's messages about interfaces were lost, because
// there were more than fit into the buffer: what changed meanwhile is found by listing
// them. It returns nil if that is not possible.
func (s *Service) catchUp(ctx context.Context) <-chan link {
	if ctx.Err() != nil {
		return nil
	}
	s.Log.Print("messages about interfaces were lost: all interfaces are looked at again")
	changes, err := watch(ctx)
	if err != nil {
		return nil
	}
	links, err := list()
	if err != nil {
		return nil
	}
	for _, l := range s.ordered() {
		if _, there := links[l.index]; !there {
			l.gone = true
			s.changed(ctx, l)
		}
	}
	for _, index := range slices.Sorted(maps.Keys(links)) {
		s.changed(ctx, links[index])
	}
	return changes
}

// lost is the error for something that cannot be watched any more, unless that
// is because ctx has ended. Whatever was missed is seen after a restart.
func lost(ctx context.Context, what string) error {
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("lost track of " + what)
}

// reread carries out a change of the file.
func (s *Service) reread(ctx context.Context) {
	wasBlind := s.blind.Load()
	if !s.read(false) {
		return
	}
	if !wasBlind {
		s.reconcileAll(ctx)
		return
	}
	// Begin as after a restart: what stayed may not be in the file.
	for _, p := range s.ports {
		s.stop(p)
	}
	s.reconcileAll(ctx)
	s.releaseLeftovers()
}

// read reads the file and reports whether there is something new to carry out.
func (s *Service) read(first bool) bool {
	r := readingOf(s.File)
	if !first && r == s.latest {
		return false
	}
	s.latest = r
	if !first {
		s.Log.Printf("%s has changed", s.File)
	}
	conf, clean := s.parse(r)
	if conf == nil && !first {
		s.Log.Printf("%s cannot be used: everything stays as it is", s.File)
		return false
	}
	switch {
	case conf == nil:
		conf = s.lastUsable()
	case clean:
		s.last.keep(r.text)
		s.clean = conf
	default:
		s.keepFromLast(conf)
	}
	s.blind.Store(conf == nil)
	if conf == nil {
		s.Log.Printf("%s cannot be used: every physical interface uses DHCP until it can", s.File)
		conf = &netconf.Config{Unlisted: netconf.Present}
	}
	s.decideAgain(conf.Unlisted)
	s.conf = conf
	return true
}

// reading is what reading the file came to. A file that is missing has no text; one
// that is there and cannot be read is another thing, and asks for nothing.
type reading struct{ text, problem string }

func readingOf(file string) reading {
	text, err := userfile.ReadIfThere(file, userfile.Max)
	if err != nil {
		return reading{problem: err.Error()}
	}
	return reading{text: string(text)}
}

// parse returns what the file says, or nil if it cannot be used, and whether it has no
// mistake.
func (s *Service) parse(r reading) (conf *netconf.Config, clean bool) {
	if r.problem != "" {
		s.Log.Printf("read the configuration: %s", r.problem)
		return nil, false
	}
	conf, errs := netconf.Parse(s.File, []byte(r.text))
	for _, err := range errs {
		s.Log.Print(err)
	}
	return conf, len(errs) == 0
}

// keepFromLast adds what the last file without a mistake said to entries that one has
// cost addresses or routes.
func (s *Service) keepFromLast(conf *netconf.Config) {
	if s.clean == nil {
		s.clean = s.copied()
	}
	if s.clean == nil {
		return
	}
	for _, key := range conf.KeepFrom(s.clean) {
		s.Log.Printf("%s: the addresses and routes that it had before the mistake stay until it is corrected", key)
	}
}

// lastFile is a copy of the last file without a mistake, in this boot or one before.
func (s *Service) lastFile() string { return filepath.Join(s.LastDir, "network.yaml") }

// lastUsable returns what the copy says, or nil if there is none: a mistake in the file
// that is found at the next boot only must not cost the node its fixed address.
func (s *Service) lastUsable() *netconf.Config {
	conf := s.copied()
	if conf != nil {
		s.Log.Printf("%s cannot be used: what it said when it last could be counts until then", s.File)
	}
	return conf
}

// copied returns what the copy says, or nil.
func (s *Service) copied() *netconf.Config {
	text, err := userfile.Read(s.lastFile(), userfile.Max)
	if err != nil {
		return nil
	}
	conf, _ := netconf.Parse(s.lastFile(), text)
	return conf
}

// changed takes in what the kernel says about an interface.
func (s *Service) changed(ctx context.Context, l link) {
	old := s.links[l.index]
	if s.links[l.index] = l; l.gone {
		delete(s.links, l.index)
		delete(s.decisions, l.index)
	}
	s.reconcile(ctx, l)
	s.replaceTwins(ctx)
	if l.gone {
		return
	}
	if old.name != l.name {
		s.makeVLANs(l)
	}
	if old.mtu != l.mtu {
		for _, p := range s.ports {
			if p.link.parent == l.index {
				p.setMTU() // it may not have fitted before
			}
		}
	}
}

func (s *Service) advertised(e ndisc.Event) {
	s.adverts[e.Index] = e
	if s.links[e.Index].name == "" {
		delete(s.adverts, e.Index)
	}
	if p := s.ports[e.Index]; p != nil {
		p.advertised(e)
	}
}

// hostname returns the machine's name if it has one that means anything.
func hostname() string {
	name, err := os.Hostname()
	name, _, _ = strings.Cut(name, ".")
	if err != nil || name == "localhost" || name == "(none)" || len(name) > 63 {
		return ""
	}
	return name
}

// fail ends the service with an error, the first one if there are several.
func (s *Service) fail(name string, err error) {
	select {
	case s.failed <- fmt.Errorf("%s: %w", name, err):
	default:
	}
}
