package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"

	"github.com/flannel-io/flannel/pkg/backend"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// rules replace the source address of packets from pods to the world by the node's.
// kube-proxy does that itself for packets that it has marked. nft applies all lines
// in one transaction, which also removes the rules that were there before.
const rules = `
add table ip flannel
delete table ip flannel
table ip flannel {
	chain postrouting {
		type nat hook postrouting priority srcnat
		meta mark & 0x4000 == 0x4000 return
		ip saddr %[1]s ip daddr != %[1]s ip daddr != 224.0.0.0/4 masquerade fully-random
	}
}
`

// masquerade sets the rules for the network of all pods.
func masquerade(ctx context.Context, network string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(rules, network))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set the packet filter's rules: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// refuse makes the kernel refuse packets to addresses of the subnet that no pod has.
// Without it they would leave by the default route. Pods have routes of their own.
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
				lost <- fmt.Errorf("%s no longer has the address %s: starting again", external.IfaceName, external.IfaceAddr)
				return
			}
		}
		lost <- fmt.Errorf("the kernel no longer reports the addresses of %s: starting again", external.IfaceName)
	}()
	return lost, nil
}

func isLoss(u netlink.AddrUpdate, index int, address net.IP) bool {
	return !u.NewAddr && u.LinkIndex == index && u.LinkAddress.IP.Equal(address)
}
