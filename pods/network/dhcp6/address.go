package dhcp6

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// address is what the kernel says about an address of the interface.
type address struct {
	addr      netip.Addr
	usable    bool // it is there, and no other machine has it
	duplicate bool // another machine has it
}

// watchAddresses sends the state of each IPv6 address of an interface, first of
// those that exist, then with each change. The channel is closed when ctx ends,
// or earlier if the kernel's messages were lost.
func watchAddresses(ctx context.Context, index int) (<-chan address, error) {
	ctx, cancel := context.WithCancel(ctx)
	updates := make(chan netlink.AddrUpdate)
	err := netlink.AddrSubscribeWithOptions(updates, ctx.Done(), netlink.AddrSubscribeOptions{
		ListExisting: true,
		// Room for a machine that starts a hundred pods at once, which is more than
		// net.core.rmem_max allows by itself.
		ReceiveBufferSize:      1 << 20,
		ReceiveBufferForceSize: true,
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("subscribe to addresses: %w", err)
	}
	addresses := make(chan address)
	go func() {
		defer cancel()
		defer close(addresses)
		for u := range updates {
			if a, ok := addressOf(u, index); ok {
				select {
				case addresses <- a:
				case <-ctx.Done(): // updates is drained, or its sender would hang
				}
			}
		}
	}()
	return addresses, nil
}

func addressOf(u netlink.AddrUpdate, index int) (address, bool) {
	addr, ok := netip.AddrFromSlice(u.LinkAddress.IP)
	if !ok || u.LinkIndex != index || !addr.Is6() || addr.Is4In6() {
		return address{}, false
	}
	const unsure = unix.IFA_F_TENTATIVE | unix.IFA_F_OPTIMISTIC | unix.IFA_F_DADFAILED
	return address{
		addr:      addr,
		usable:    u.NewAddr && u.Flags&unsure == 0,
		duplicate: u.Flags&unix.IFA_F_DADFAILED != 0,
	}, true
}
