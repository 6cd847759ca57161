package ndisc

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kios/pods/network/dnsname"
	"kios/pods/network/hostaddr"
	"kios/pods/network/lease"
)

// From linux/if_link.h, net/if_inet6.h, linux/ipv6.h, linux/rtnetlink.h and
// RFC 8106; golang.org/x/sys does not have them.
const (
	inet6Flags = 1 // IFLA_INET6_FLAGS
	inet6Conf  = 2 // IFLA_INET6_CONF, an array of numbers

	raManaged = 0x40 // IF_RA_MANAGED
	raOther   = 0x80 // IF_RA_OTHERCONF

	confForwarding = 0 // DEVCONF_FORWARDING
	confAcceptRA   = 3 // DEVCONF_ACCEPT_RA

	attrType = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

	userOptionHeader = 16 // sizeof(struct nduseroptmsg)
	routerAdvert     = 134
	optionRDNSS      = 25
	optionDNSSL      = 31
)

// link is what a message says about an interface.
type link struct {
	index   int
	name    string
	gone    bool
	up      bool // administratively
	carrier bool
	ipv6    bool // the fields below are known
	managed bool
	other   bool
	accepts bool // the kernel heeds router advertisements
}

// parseLink reads RTM_NEWLINK and RTM_DELLINK, both the general ones and those
// of IPv6. Bridges send such messages about their ports, which are not meant.
func parseLink(m syscall.NetlinkMessage) (link, bool) {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return link{}, false
	}
	info := nl.DeserializeIfInfomsg(m.Data)
	if info.Family != unix.AF_UNSPEC && info.Family != unix.AF_INET6 {
		return link{}, false
	}
	attrs, err := attributes(m.Data[unix.SizeofIfInfomsg:])
	if err != nil {
		return link{}, false
	}
	l := link{
		index:   int(info.Index),
		gone:    m.Header.Type == unix.RTM_DELLINK,
		up:      info.Flags&unix.IFF_UP != 0,
		carrier: info.Flags&unix.IFF_UP != 0 && info.Flags&unix.IFF_LOWER_UP != 0,
	}
	for _, a := range attrs {
		l.setAttribute(a.Attr.Type&attrType, a.Value, info.Family == unix.AF_INET6)
	}
	return l, true
}

// setAttribute takes in an attribute of a message, of which some are about IPv6
// only.
func (l *link) setAttribute(kind uint16, value []byte, onlyIPv6 bool) {
	switch {
	case kind == unix.IFLA_IFNAME:
		l.name = unix.ByteSliceToString(value)
	case kind == unix.IFLA_PROTINFO && onlyIPv6:
		l.setIPv6(value)
	case kind == unix.IFLA_AF_SPEC:
		l.setIPv6(attribute(value, unix.AF_INET6))
	}
}

func (l *link) setIPv6(nested []byte) {
	flags, conf := attribute(nested, inet6Flags), attribute(nested, inet6Conf)
	if len(flags) < 4 || len(conf) < 4*(confAcceptRA+1) {
		return
	}
	f := binary.NativeEndian.Uint32(flags)
	forwarding := binary.NativeEndian.Uint32(conf[4*confForwarding:])
	acceptRA := binary.NativeEndian.Uint32(conf[4*confAcceptRA:])
	l.ipv6 = true
	l.managed, l.other = f&raManaged != 0, f&raOther != 0
	l.accepts = acceptRA == 2 || acceptRA == 1 && forwarding == 0
}

// attributes is ParseRouteAttr, which needs the padding of the last attribute.
func attributes(raw []byte) ([]syscall.NetlinkRouteAttr, error) {
	padding := make([]byte, -len(raw)&(unix.RTA_ALIGNTO-1))
	return nl.ParseRouteAttr(slices.Concat(raw, padding))
}

func attribute(nested []byte, kind uint16) []byte {
	attrs, err := attributes(nested)
	if err != nil {
		return nil
	}
	for _, a := range attrs {
		if a.Attr.Type&attrType == kind {
			return a.Value
		}
	}
	return nil
}

// option is one of an advertisement's options for DNS.
type option struct {
	index    int
	lifetime time.Duration // lease.Forever: no end; 0: it is over
	servers  []netip.Addr
	domains  []string
}

// parseOption reads the body of RTM_NEWNDUSEROPT (struct nduseroptmsg of
// linux/rtnetlink.h). An option that is not for DNS comes back empty: it tells
// at least that a router has spoken.
func parseOption(body []byte) (option, bool) {
	if len(body) < userOptionHeader || body[0] != unix.AF_INET6 || body[8] != routerAdvert {
		return option{}, false
	}
	length := int(binary.NativeEndian.Uint16(body[2:]))
	o := option{index: int(int32(binary.NativeEndian.Uint32(body[4:])))}
	raw := body[userOptionHeader:]
	if length < 8 || length > len(raw) || int(raw[1])*8 != length {
		return option{}, false
	}
	o.parse(raw[0], raw[4:length])
	return o, true
}

// parse reads the lifetime and what follows it.
func (o *option) parse(kind byte, raw []byte) {
	o.lifetime = lease.Forever
	if seconds := binary.BigEndian.Uint32(raw); seconds != math.MaxUint32 {
		o.lifetime = time.Duration(seconds) * time.Second
	}
	switch kind {
	case optionRDNSS:
		o.servers = serversOf(raw[4:])
	case optionDNSSL:
		o.domains = domainsOf(raw[4:])
	}
}

func serversOf(raw []byte) []netip.Addr {
	var servers []netip.Addr
	for ; len(raw) >= 16; raw = raw[16:] {
		if a := netip.AddrFrom16([16]byte(raw)); hostaddr.Valid(a) {
			servers = append(servers, a)
		}
	}
	return servers
}

// domainsOf reads names up to a mistake. Those that are no domains are left out, so
// that the rest is safe to be written into a file of lines and words.
func domainsOf(raw []byte) []string {
	names, _ := dnsname.List(raw)
	return dnsname.Filter(names)
}
