package network

import (
	"context"

	"kios/internal/boottime"
	"kios/internal/userfile"
	"kios/pods/network/dhcp6"
	"kios/pods/network/ndisc"
)

// outside6 is what the port's DHCPv6 client acts on.
type outside6 struct{ port *port }

// advertised takes in what routers say. A client that runs goes on when they
// change their mind: its server will tell it.
func (p *port) advertised(e ndisc.Event) {
	if !p.conf.RA {
		e = ndisc.Event{}
	}
	p.remember(func(r *record) { r.Routers = &e })
	p.offer(byRouter, learnedRA(e))
	if !p.conf.DHCP6 || !e.Managed && !e.Other || p.v6 != nil && (p.stateful || !e.Managed) {
		return
	}
	if p.v6 != nil {
		p.v6.stop()
	}
	p.startDHCP6(e.Managed)
}

// startDHCP6 starts the port's DHCPv6 client, with the lease of before if there
// is one.
func (p *port) startDHCP6(stateful bool) {
	kept := p.kept()
	if kept.Lease6 != nil {
		p.offer(byDHCP6, learned6(kept.Lease6))
	}
	p.stateful = stateful
	p.v6 = p.startClient(func(ctx context.Context, carrier <-chan bool) error {
		return dhcp6.Run(ctx, dhcp6.Config{
			Identity: dhcp6.Identity{DUID: p.duid(), IAID: p.iaid(), Name: p.link.name, Stateful: stateful},
			Index:    p.link.index,
			Resume:   kept.Lease6,
			Link:     carrier,
			Outside:  outside6{p},
			Log:      p.logf,
		})
	}, func() {})
	p.v6.setCarrier(p.link.carrier)
}

// duid names the machine, and if it has no ID, or a malformed one, the card.
func (p *port) duid() []byte {
	id, err := userfile.Read(p.service.MachineID, userfile.Max)
	if err != nil {
		id = nil
	}
	return dhcp6.DUID(string(id), p.link.mac)
}

// iaid tells the interface from the others of the machine. A VLAN has the address of
// what it is on.
func (p *port) iaid() [4]byte {
	if p.link.kind == "vlan" {
		return dhcp6.IAIDFromName(p.link.mac, p.link.name)
	}
	return dhcp6.IAIDFromMAC(p.link.mac)
}

// Apply implements dhcp6.Outside.
func (o outside6) Apply(l, old *dhcp6.Lease) error {
	p := o.port
	refused, err := applyLease6(p.link.index, l, old, boottime.Now())
	if err != nil {
		return err
	}
	p.complain("DHCPv6", refused)
	p.remember(func(r *record) { r.Lease6 = l })
	p.offer(byDHCP6, learned6(l))
	return nil
}

// Drop implements dhcp6.Outside.
func (o outside6) Drop(l *dhcp6.Lease) {
	p := o.port
	p.logErrors(removeLease6(p.link.index, l, nil, p.conf.Addresses))
	p.remember(func(r *record) { r.Lease6 = nil })
	p.offer(byDHCP6, learned{})
}
