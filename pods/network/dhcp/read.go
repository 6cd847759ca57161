package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"kios/pods/network/dnsname"
	"kios/pods/network/hostaddr"
	"kios/pods/network/lease"
)

const (
	infiniteSeconds = math.MaxUint32 // RFC 2131, section 3.3

	// defaultLength is for how long a lease is used whose server does not say it.
	defaultLength = time.Hour

	maxServers = 16 // of a kind; nobody asks more of them
	maxRoutes  = 256
)

// reader reads a lease out of a message. A lease is used as far as it can be:
// faults are what cannot be.
type reader struct {
	p      *dhcpv4.DHCPv4
	faults lease.Faults
}

// leaseFrom reads the lease out of an offer or an acknowledgement, and says what of
// it is of no use. The error says what makes all of it unusable: such an answer is
// to be ignored, because a second server, or the same one a moment later, may do
// better.
func leaseFrom(p *dhcpv4.DHCPv4, whole bool, now time.Duration) (*Lease, lease.Faults, error) {
	r := &reader{p: p}
	if !whole {
		r.faults.Add("its options are cut off")
	}
	address, err := r.address()
	if err != nil {
		return nil, nil, err
	}
	server, ok := hostaddr.FromIPv4(r.fixed(dhcpv4.OptionServerIdentifier, 4))
	if !ok {
		return nil, nil, errors.New("it has no server identifier")
	}
	l := &Lease{
		Address:  address,
		Server:   server,
		Routes:   r.routes(),
		DNS:      r.servers("DNS", dhcpv4.OptionDomainNameServer),
		Search:   r.search(),
		NTP:      r.servers("NTP", dhcpv4.OptionNTPServers),
		MTU:      r.mtu(),
		Hostname: r.hostname(),
		Times:    r.times(now),
	}
	return l, r.faults, nil
}

func (r *reader) option(code dhcpv4.OptionCode) []byte { return r.p.Options.Get(code) }

// fixed returns an option of so many bytes, or fewer if it is too short. What it has
// beyond them is a fault.
func (r *reader) fixed(code dhcpv4.OptionCode, size int) []byte {
	if long := len(r.option(code)); long > size {
		r.faults.Add("its option %d has %d bytes, of which the first %d count", code.Code(), long, size)
	}
	return first(r.p, code, size)
}

// address returns the address with its subnet. Its host part may be all zeros or
// ones: where a server gives such an address out, no broadcasts go there.
func (r *reader) address() (netip.Prefix, error) {
	addr, ok := hostaddr.FromIPv4(r.p.YourIPAddr)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("%s is no address for a host", r.p.YourIPAddr)
	}
	mask := r.fixed(dhcpv4.OptionSubnetMask, 4)
	if ones, bits := net.IPMask(mask).Size(); bits == 32 && ones > 0 {
		return netip.PrefixFrom(addr, ones), nil
	}
	prefix := netip.PrefixFrom(addr, classOf(addr))
	if mask == nil {
		r.faults.Add("it has no subnet mask, so that %s is taken for the address", prefix)
	} else {
		r.faults.Add("its subnet mask %x is none, so that %s is taken for the address", mask, prefix)
	}
	return prefix, nil
}

// classOf returns the length of the subnet that the class of an address implies
// (RFC 791, section 3.2): a server that gives no mask means that one. The addresses
// after class C have none.
func classOf(a netip.Addr) int {
	switch first := a.As4()[0]; {
	case first < 128:
		return 8
	case first < 192:
		return 16
	case first < 224:
		return 24
	}
	return 32
}

// times returns the lease's three instants. T1 and T2 from the server count only
// if they are in order; RFC 2131, section 4.4.5, has the defaults.
func (r *reader) times(now time.Duration) lease.Times {
	length := r.length()
	if length == infiniteSeconds*time.Second {
		return lease.Times{Renew: lease.Forever, Rebind: lease.Forever, Expiry: lease.Forever}
	}
	t1, ok1 := r.seconds(dhcpv4.OptionRenewTimeValue)
	t2, ok2 := r.seconds(dhcpv4.OptionRebindingTimeValue)
	if !ok2 || t2 == 0 || t2 >= length {
		t2 = length / 8 * 7
	}
	if !ok1 || t1 == 0 || t1 >= t2 {
		t1 = length / 2
	}
	if t1 >= t2 { // T1 is the default, T2 is not
		t1 = t2 / 2
	}
	return lease.Times{Renew: now + t1, Rebind: now + t2, Expiry: now + length}
}

func (r *reader) length() time.Duration {
	length, ok := r.seconds(dhcpv4.OptionIPAddressLeaseTime)
	if !ok || length == 0 {
		r.faults.Add("it has no lease time, so that it is taken for %s", defaultLength)
		return defaultLength
	}
	return length
}

func (r *reader) seconds(code dhcpv4.OptionCode) (time.Duration, bool) {
	raw := r.fixed(code, 4)
	if len(raw) != 4 {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint32(raw)) * time.Second, true
}

// search returns the domains to search: option 119, else option 15, without
// anything that is not a domain name. What remains is safe to be written into
// a file of lines and words.
func (r *reader) search() []string {
	names, err := dnsname.List(r.option(dhcpv4.OptionDNSDomainSearchList))
	if err != nil {
		r.faults.Add("its search list is read up to a mistake: %v", err)
	}
	if len(names) == 0 {
		names = r.domains()
	}
	valid := dnsname.Filter(names)
	if left := len(names) - len(valid); left > 0 {
		r.faults.Add("%d of its domains are left out: they are none", left)
	}
	return valid
}

// domains returns what is in option 15: some servers put several names into it.
func (r *reader) domains() []string {
	text := string(r.option(dhcpv4.OptionDomainName))
	names := strings.Fields(strings.TrimRight(text, "\x00"))
	return names[:min(len(names), maxServers)]
}

// hostname returns the machine's name: option 12, else the client FQDN of
// option 81, else "".
func (r *reader) hostname() string {
	for _, sent := range []string{string(r.option(dhcpv4.OptionHostName)), fqdnOf(r.option(dhcpv4.OptionFQDN))} {
		name, remark := dnsname.Hostname(sent)
		if remark != "" {
			r.faults.Add("%s", remark)
		}
		if name != "" {
			return r.privateDNSName(name)
		}
	}
	return ""
}

// privateDNSName returns the name by which EC2 knows a machine. The server there
// sends it in two parts, and its API knows nodes by the whole: the cloud's
// controller and EKS' authorizer look for that.
func (r *reader) privateDNSName(name string) string {
	domains := r.domains()
	if len(domains) != 1 || strings.Contains(name, ".") ||
		domains[0] != "ec2.internal" && !strings.HasSuffix(domains[0], ".compute.internal") {
		return name
	}
	if whole, remark := dnsname.Hostname(name + "." + domains[0]); remark == "" {
		return whole
	}
	return name
}

// fqdnOf returns the name in option 81 (RFC 4702), in its text form or in the
// form of RFC 1035, which the flag E tells.
func fqdnOf(raw []byte) string {
	const encoded = 0x04
	if len(raw) < 3 {
		return ""
	}
	flags, name := raw[0], raw[3:]
	if flags&encoded == 0 {
		return string(name)
	}
	decoded, _, err := dnsname.Decode(name)
	if err != nil && !errors.Is(err, dnsname.ErrNoEnd) {
		return ""
	}
	return decoded
}

// mtu returns the MTU, or 0 if it is absent or below what each IPv4 host must be
// able to receive (RFC 791): smaller ones are mistakes or worse.
func (r *reader) mtu() int {
	raw := r.fixed(dhcpv4.OptionInterfaceMTU, 2)
	if raw == nil {
		return 0
	}
	if len(raw) == 2 {
		if mtu := binary.BigEndian.Uint16(raw); mtu >= 576 {
			return int(mtu)
		}
	}
	r.faults.Add("its MTU is left out: it is %x in hexadecimal digits, and has to be 2 bytes and at least 576", raw)
	return 0
}

// servers returns the addresses in an option that hosts can have.
func (r *reader) servers(kind string, code dhcpv4.OptionCode) []netip.Addr {
	raw := r.option(code)
	var addrs []netip.Addr
	for a := range slices.Chunk(raw, 4) {
		if addr, ok := hostaddr.FromIPv4(a); ok && len(addrs) < maxServers {
			addrs = append(addrs, addr)
		}
	}
	if used := 4 * len(addrs); used < len(raw) {
		r.faults.Add("%d of %d bytes with %s servers are left out: they are no addresses of hosts, or too many", len(raw)-used, len(raw), kind)
	}
	return addrs
}
