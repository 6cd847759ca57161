package network

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mark is the alias of the VLANs and bonds that are ours to change and remove, or the
// beginning of it.
const mark = "from network.yaml"

// markMAC is the alias of a bond that has its hardware address from the file, too.
const markMAC = mark + ", with its address"

func isOurs(a *netlink.LinkAttrs) bool { return a.Alias == mark || a.Alias == markMAC }

// link is what the kernel says about an interface.
type link struct {
	index   int
	name    string
	kind    string // "device" for a physical one, else "veth", "bond" ...
	mac     net.HardwareAddr
	mtu     int
	perm    string // the address to find it by, which a bond does not change; "" for none
	master  int    // index of the bond or bridge that it belongs to, or 0
	parent  int    // index of the interface that it is a VLAN of, or 0
	up      bool
	carrier bool
	ether   bool
	ours    bool // made by us
	gone    bool
}

// watch sends the state of each interface as it changes. The channel is closed when
// ctx ends, and earlier if messages of the kernel were lost.
func watch(ctx context.Context) (<-chan link, error) {
	updates := make(chan netlink.LinkUpdate)
	err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{
		// Room for a machine that starts a hundred pods at once.
		ReceiveBufferSize:      1 << 20,
		ReceiveBufferForceSize: true, // beyond net.core.rmem_max, as NET_ADMIN may
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to interfaces: %w", err)
	}
	links := make(chan link)
	go func() {
		defer close(links)
		for u := range updates {
			// Bridges send messages of their own about their ports, such as
			// that one is no port any more, which looks like its end.
			if u.IfInfomsg.Family != unix.AF_UNSPEC {
				continue
			}
			select {
			case links <- linkOf(u.Link, u.Header.Type == unix.RTM_DELLINK):
			case <-ctx.Done(): // and updates comes to its end
			}
		}
	}()
	return links, nil
}

// list returns the interfaces that there are.
func list() (map[int]link, error) {
	var all []netlink.Link
	var err error
	for range 10 { // each time that something changed in the middle
		if all, err = netlink.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	links := map[int]link{}
	for _, nl := range all {
		links[nl.Attrs().Index] = linkOf(nl, false)
	}
	return links, nil
}

func linkOf(nl netlink.Link, gone bool) link {
	a := nl.Attrs()
	l := link{
		index:   a.Index,
		name:    a.Name,
		kind:    nl.Type(),
		mac:     a.HardwareAddr,
		mtu:     a.MTU,
		master:  a.MasterIndex,
		up:      a.RawFlags&unix.IFF_UP != 0,
		carrier: a.RawFlags&unix.IFF_LOWER_UP != 0 && a.RawFlags&unix.IFF_UP != 0,
		ether:   a.EncapType == "ether",
		ours:    isOurs(a),
		gone:    gone,
	}
	if l.kind == "vlan" {
		l.parent = a.ParentIndex
	}
	l.perm = permanent(l.kind, a)
	return l
}

// permanent returns the address that the interface had before somebody changed
// it. A VLAN, a macvlan and the like have none of their own.
func permanent(kind string, a *netlink.LinkAttrs) string {
	if kind != "device" && kind != "veth" {
		return ""
	}
	if slave, ok := a.Slave.(*netlink.BondSlave); ok && len(slave.PermHardwareAddr) == 6 {
		return slave.PermHardwareAddr.String()
	}
	if len(a.PermHWAddr) == 6 {
		return a.PermHWAddr.String()
	}
	return a.HardwareAddr.String()
}
