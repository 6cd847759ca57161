package network

import (
	"time"

	"kios/pods/network/arp"
)

// Of RFC 5227, section 2.3. The first announcement may come before the switch
// forwards what it receives from a link that has just come up.
const (
	announcements = 2
	announceEvery = 2 * time.Second
)

// announceStatic tells the neighbours, in the background, that the IPv4 addresses of
// the file are here: another machine may have had them until now. DHCP clients
// announce what they lease.
func (p *port) announceStatic() {
	for n := range announcements {
		time.AfterFunc(time.Duration(n)*announceEvery, func() {
			if err := p.announce(); err != nil && p.ctx.Err() == nil {
				p.logf("announce the addresses of the file: %v", err)
			}
		})
	}
}

func (p *port) announce() error {
	if p.ctx.Err() != nil {
		return nil // the port has ended
	}
	conn, err := arp.Listen(p.link.index)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, a := range p.conf.Addresses {
		if !a.Addr().Is4() {
			continue
		}
		if err := conn.Announce(a.Addr()); err != nil {
			return err
		}
	}
	return nil
}
