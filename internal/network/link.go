package network

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link is what the kernel says about an interface.
type link struct {
	index   int
	name    string
	mac     net.HardwareAddr
	carrier bool
	member  bool // of a bond, a bridge or the like
	ether   bool
	gone    bool
}

// watch sends the state of each interface, first of those that exist, then
// with each change. It ends ctx's subscription when ctx ends; the channel is
// closed early if the kernel's messages were lost.
func watch(ctx context.Context) (<-chan link, error) {
	updates := make(chan netlink.LinkUpdate)
	err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{
		ListExisting: true,
		// Room for a machine that starts a hundred pods at once.
		ReceiveBufferSize: 1 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to interfaces: %w", err)
	}
	links := make(chan link)
	go func() {
		defer close(links)
		for u := range updates {
			links <- linkOf(u)
		}
	}()
	return links, nil
}

func linkOf(u netlink.LinkUpdate) link {
	a := u.Attrs()
	return link{
		index:   a.Index,
		name:    a.Name,
		mac:     a.HardwareAddr,
		carrier: a.RawFlags&unix.IFF_LOWER_UP != 0 && a.RawFlags&unix.IFF_UP != 0,
		member:  a.MasterIndex != 0,
		ether:   a.EncapType == "ether",
		gone:    u.Header.Type == unix.RTM_DELLINK,
	}
}

// chosen reports whether the interface is to be configured: one of names, or
// if there are none, a physical Ethernet interface. The kernel gives those, and
// paravirtual ones, a device; veth, bridge, bond, VLAN, tun and dummy have none.
func (l link) chosen(names []string, sysfs string) bool {
	if l.gone || l.member || !l.ether || len(l.mac) != 6 {
		return false
	}
	if len(names) > 0 {
		return slices.Contains(names, l.name)
	}
	_, err := os.Stat(filepath.Join(sysfs, "class/net", l.name, "device"))
	return err == nil
}
