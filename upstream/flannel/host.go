package main

import (
	"context"
	"fmt"
	"net"

	"github.com/flannel-io/flannel/pkg/backend"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// refuse answers packets to pods of the subnet that are not there, which would
// leave by the default route. Pods that are have routes of their own.
func refuse(subnet *net.IPNet) error {
	if err := netlink.RouteReplace(&netlink.Route{Dst: subnet, Type: unix.RTN_UNREACHABLE}); err != nil {
		return fmt.Errorf("make %s unreachable apart from its pods: %w", subnet, err)
	}
	return nil
}

// watchAddress sends an error when the interface loses the address at which the
// other nodes reach this one. The kubelet then starts this program again, with
// the new address.
func watchAddress(ctx context.Context, external *backend.ExternalInterface) (<-chan error, error) {
	updates := make(chan netlink.AddrUpdate)
	if err := netlink.AddrSubscribe(updates, ctx.Done()); err != nil {
		return nil, fmt.Errorf("watch the addresses of %s: %w", external.IfaceName, err)
	}
	lost := make(chan error, 1)
	go func() {
		for u := range updates {
			if isLoss(u, external.Iface.Index, external.IfaceAddr) {
				lost <- fmt.Errorf("%s no longer has the address %s: starting anew", external.IfaceName, external.IfaceAddr)
				return
			}
		}
		lost <- fmt.Errorf("the kernel tells no more of the addresses of %s: starting anew", external.IfaceName)
	}()
	return lost, nil
}

func isLoss(u netlink.AddrUpdate, index int, address net.IP) bool {
	return !u.NewAddr && u.LinkIndex == index && u.LinkAddress.IP.Equal(address)
}
