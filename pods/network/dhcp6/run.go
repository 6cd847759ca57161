package dhcp6

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"kios/internal/boottime"
	"kios/pods/network/lease"
)

// Config says what a client is to do.
type Config struct {
	Identity
	Index  int    // of the interface
	Resume *Lease // from before a restart; nil for none

	// Link tells whether the interface has a carrier. There is none until it
	// says so.
	Link    <-chan bool
	Outside lease.Outside[*Lease]
	Log     func(format string, args ...any)
}

// Run is the client of one interface until ctx ends. Nothing is taken out of
// use at the end, and nothing is released. To change from stateless to stateful
// or back, end it and start another one. It takes CAP_NET_BIND_SERVICE (port 546),
// CAP_NET_ADMIN (a large buffer for what the kernel says) and, on kernels before 5.7,
// CAP_NET_RAW (bind to a device).
//
// It sends nothing before the interface has a link-local address that is known
// to be unique. The kernel must check other addresses for duplicates as usual:
// when it finds one, the client sees that by itself, drops the lease and tells
// the server.
//
// Outside and Log are called by the goroutine that called Run.
func Run(ctx context.Context, c Config) error {
	r := &client{Config: c}
	r.machine = NewMachine(c.Identity, outside{c.Outside, r}, c.Log)
	if c.Resume != nil {
		r.machine.Resume(c.Resume)
	}
	defer r.close()
	for {
		addresses, err := watchAddresses(ctx, c.Index)
		if err != nil {
			return err
		}
		r.usable = nil // they are listed again
		r.run(ctx, addresses)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// client is a Machine with its connections to the world.
type client struct {
	Config
	machine *Machine
	carrier bool
	usable  []netip.Addr // link-local addresses
	local   netip.Addr   // the one of them that conn is bound to
	conn    *conn
}

// run returns when ctx ends or addresses is closed.
func (r *client) run(ctx context.Context, addresses <-chan address) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case up := <-r.Link:
			r.carrier = up
		case a, ok := <-addresses:
			if !ok {
				return
			}
			r.address(a)
		case raw := <-r.replies():
			if raw != nil {
				r.machine.Receive(boottime.Now(), raw)
			}
		case <-timer.C:
			r.machine.Tick(boottime.Now())
		}
		r.connect()
		timer.Reset(lease.Sleep(boottime.Now(), r.machine.Wake()))
	}
}

func (r *client) replies() <-chan []byte {
	if r.conn == nil {
		return nil
	}
	return r.conn.replies
}

func (r *client) address(a address) {
	if a.duplicate {
		r.machine.Duplicate(boottime.Now(), a.addr)
	}
	if !a.addr.IsLinkLocalUnicast() {
		return
	}
	r.usable = slices.DeleteFunc(r.usable, func(u netip.Addr) bool { return u == a.addr })
	if a.usable {
		r.usable = append(r.usable, a.addr)
	}
}

// connect keeps the socket bound to a usable address, and the machine informed.
func (r *client) connect() {
	if r.conn != nil && !slices.Contains(r.usable, r.local) {
		r.close()
	}
	for r.conn == nil && len(r.usable) > 0 {
		r.listen(r.usable[0])
	}
	if r.carrier && r.conn != nil {
		r.machine.LinkUp(boottime.Now())
	} else {
		r.machine.LinkDown()
	}
}

func (r *client) listen(local netip.Addr) {
	conn, err := listen(r.Name, local)
	if err != nil {
		// The address is gone, and the kernel is about to say so, or another client
		// has the port. Either way, this address is of no use for now.
		r.Log("%v", err)
		r.usable = slices.DeleteFunc(r.usable, func(u netip.Addr) bool { return u == local })
		return
	}
	r.conn, r.local = conn, local
}

func (r *client) close() {
	if r.conn != nil {
		r.conn.udp.Close()
		r.conn = nil
	}
}

// outside is what the machine acts on.
type outside struct {
	lease.Outside[*Lease]
	client *client
}

// Send implements Outside.
func (o outside) Send(p *dhcpv6.Message) {
	if err := o.client.conn.send(p); err != nil {
		o.client.Log("send %s: %v", p.MessageType, err)
	}
}
