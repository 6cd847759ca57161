package dhcp

import (
	"context"
	"errors"
	"time"

	"kios/internal/boottime"
	"kios/pods/network/lease"
)

// Run drives m with the machine's clock until ctx ends. The channel link tells
// whether the interface has a carrier; replies are the messages from servers,
// and it is an error when that channel is closed while ctx goes on. Nothing is
// taken out of use at the end.
func Run(ctx context.Context, m *Machine, link <-chan bool, conn *Conn) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case up := <-link:
			if up {
				m.LinkUp(boottime.Now())
			} else {
				m.LinkDown()
			}
		case raw := <-conn.Replies():
			if raw == nil {
				return closed(ctx)
			}
			m.Receive(boottime.Now(), raw)
		case claim, ok := <-conn.Claims():
			if !ok {
				return closed(ctx)
			}
			m.Claimed(boottime.Now(), claim)
		case <-timer.C:
			m.Tick(boottime.Now())
		}
		timer.Reset(lease.Sleep(boottime.Now(), m.Wake()))
	}
	return nil
}

func closed(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("the socket for DHCP was closed")
}
