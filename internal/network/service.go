package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"

	"kios/internal/dhcp"
	"kios/internal/resolvconf"
)

// Service configures the interfaces of the network namespace that it runs in.
type Service struct {
	Interfaces []string // names; none means each physical Ethernet interface
	StateDir   string   // where leases are kept until the machine goes down
	ResolvConf string   // the file to write
	ProcSysNet string   // /proc/sys/net, writable
	Sysfs      string   // /sys
	Log        *log.Logger

	names resolver
}

// client is the DHCP client of one interface.
type client struct {
	*Service
	link
	conn *dhcp.Conn
	up   chan bool
	stop context.CancelFunc
	done chan struct{} // closed when the client has stopped
}

// Run configures interfaces until ctx ends. It leaves everything as it is then.
// An error means that it cannot go on; interfaces that cause trouble are logged
// instead.
func (s *Service) Run(ctx context.Context) error {
	s.names.path, s.names.log = s.ResolvConf, s.Log
	links, err := watch(ctx)
	if err != nil {
		return err
	}
	clients := map[int]*client{}
	failed := make(chan error, 1)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case l, ok := <-links:
			if !ok {
				// Whatever was missed is listed again after a restart.
				return errors.New("lost track of the interfaces")
			}
			s.update(ctx, clients, l, failed)
		}
	}
}

// update starts, tells or stops the client of the interface that changed.
func (s *Service) update(ctx context.Context, clients map[int]*client, l link, failed chan<- error) {
	c := clients[l.index]
	if c != nil && (!l.chosen(s.Interfaces, s.Sysfs) || c.name != l.name || !bytes.Equal(c.mac, l.mac)) {
		c.end()
		delete(clients, l.index)
		c = nil
	}
	if !l.chosen(s.Interfaces, s.Sysfs) {
		return
	}
	if c == nil {
		var err error
		if c, err = s.start(ctx, l, failed); err != nil {
			s.Log.Printf("%s: %v", l.name, err)
			return
		}
		clients[l.index] = c
	}
	if c.carrier != l.carrier {
		c.carrier = l.carrier
		c.up <- l.carrier
	}
}

// start brings the interface up and starts its client, which assumes that there
// is no carrier until it is told.
func (s *Service) start(ctx context.Context, l link, failed chan<- error) (*client, error) {
	conn, err := dhcp.Listen(l.index, l.name)
	if err != nil {
		return nil, err
	}
	if err := s.bringUp(l); err != nil {
		conn.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	c := &client{Service: s, link: l, conn: conn, up: make(chan bool, 16), stop: stop, done: make(chan struct{})}
	c.carrier = false
	m := &dhcp.Machine{Identity: c.identity, Outside: c, Log: c.logf}
	c.resume(m)
	go func() {
		defer close(c.done)
		c.run(ctx, m, failed)
	}()
	return c, nil
}

func (c *client) run(ctx context.Context, m *dhcp.Machine, failed chan<- error) {
	err := dhcp.Run(ctx, m, c.up, c.conn.Replies())
	if err == nil {
		return
	}
	select {
	case failed <- fmt.Errorf("%s: %w", c.name, err):
	case <-ctx.Done():
	}
}

func (s *Service) bringUp(l link) error {
	// Before the interface is up, because that is when the kernel asks for
	// routers. Without IPv6 the rest still works.
	if err := acceptRA(s.ProcSysNet, l.name); err != nil {
		s.Log.Printf("%s: IPv6 addresses may be missing: %v", l.name, err)
	}
	nl, err := netlink.LinkByIndex(l.index)
	if err != nil {
		return fmt.Errorf("find interface %d: %w", l.index, err)
	}
	if err := netlink.LinkSetUp(nl); err != nil {
		return fmt.Errorf("bring it up: %w", err)
	}
	return nil
}

// end stops a client whose interface is gone, renamed or no longer ours.
func (c *client) end() {
	c.logf("no longer configured here")
	c.stop()
	c.conn.Close()
	<-c.done
	if err := store(c.StateDir).forget(c.name); err != nil {
		c.logf("%v", err)
	}
	c.names.set(c.index, nil)
}

func (c *client) resume(m *dhcp.Machine) {
	l, err := store(c.StateDir).load(c.name, c.mac, dhcp.SinceBoot())
	if err != nil {
		c.logf("starting without the lease of before: %v", err)
	}
	if l != nil {
		m.Resume(l)
		c.names.seed(c.index, l)
	}
}

func (c *client) logf(format string, args ...any) {
	c.Service.Log.Printf(c.name+": "+format, args...)
}

func (c *client) identity() dhcp.Identity {
	return dhcp.Identity{HardwareAddr: c.mac, Hostname: hostname()}
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

// Send implements dhcp.Outside.
func (c *client) Send(p *dhcpv4.DHCPv4, to netip.Addr) {
	if err := c.conn.Send(p, to); err != nil && !errors.Is(err, net.ErrClosed) {
		c.logf("send %s: %v", p.MessageType(), err)
	}
}

// Apply implements dhcp.Outside.
func (c *client) Apply(l, old *dhcp.Lease) error {
	if err := apply(c.index, l, old, dhcp.SinceBoot()); err != nil {
		return err
	}
	if err := store(c.StateDir).save(c.name, c.mac, l); err != nil {
		c.logf("keep the lease: %v", err) // it still works until a restart
	}
	c.names.set(c.index, l)
	return nil
}

// Drop implements dhcp.Outside.
func (c *client) Drop(l *dhcp.Lease) {
	err := errors.Join(remove(c.index, l), store(c.StateDir).forget(c.name))
	if err != nil {
		c.logf("%v", err)
	}
	c.names.set(c.index, nil)
}

// resolver keeps resolv.conf in step with the leases of all interfaces.
type resolver struct {
	path string
	log  *log.Logger

	mu      sync.Mutex
	sources map[int]resolvconf.Source
	foreign bool // said that the file is the user's
}

// seed takes in a lease without writing: after a restart the file is right as
// it is, until the first interface has something new.
func (r *resolver) seed(index int, l *dhcp.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sources == nil {
		r.sources = map[int]resolvconf.Source{}
	}
	if l == nil {
		delete(r.sources, index)
		return
	}
	r.sources[index] = resolvconf.Source{Servers: l.DNS, Search: l.Search}
}

// set takes in a lease, or nil for none, and writes the file.
func (r *resolver) set(index int, l *dhcp.Lease) {
	r.seed(index, l)
	r.mu.Lock()
	defer r.mu.Unlock()
	err := resolvconf.Write(r.path, resolvconf.Render(r.ordered()))
	switch {
	case errors.Is(err, resolvconf.ErrForeign):
		if !r.foreign {
			r.log.Print(err)
		}
		r.foreign = true
	case err != nil:
		r.log.Printf("names will not resolve: %v", err)
	}
}

func (r *resolver) ordered() []resolvconf.Source {
	var indexes []int
	for i := range r.sources {
		indexes = append(indexes, i)
	}
	slices.Sort(indexes)
	var sources []resolvconf.Source
	for _, i := range indexes {
		sources = append(sources, r.sources[i])
	}
	return sources
}
