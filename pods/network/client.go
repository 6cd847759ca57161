package network

import "context"

// client is a DHCP client of a port while it runs.
type client struct {
	carrier     chan bool
	ctx         context.Context // ends with the client
	end         context.CancelFunc
	closeSocket func()
	done        chan struct{}
}

// startClient starts a client. An error of run ends the service.
func (p *port) startClient(run func(ctx context.Context, carrier <-chan bool) error, closeSocket func()) *client {
	ctx, end := context.WithCancel(p.ctx)
	c := &client{make(chan bool, 16), ctx, end, closeSocket, make(chan struct{})}
	go func() {
		defer close(c.done)
		defer end()
		if err := run(ctx, c.carrier); err != nil && ctx.Err() == nil {
			p.service.fail(p.link.name, err)
		}
	}()
	return c
}

// setCarrier tells the client whether the interface has a carrier, unless the
// client has ended.
func (c *client) setCarrier(carrier bool) {
	select {
	case c.carrier <- carrier:
	case <-c.ctx.Done():
	}
}

// stop ends the client and waits for that: after it the client changes nothing.
func (c *client) stop() {
	c.end()
	c.closeSocket() // it may be sending
	<-c.done
}
