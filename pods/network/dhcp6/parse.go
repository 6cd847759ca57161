package dhcp6

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// maxMessage is the longest message that is read: servers do not fragment what they
// have to say to a client.
const maxMessage = 4096

// answer is a message from a server, unread. The library's parser is not used: it decodes
// all that a message holds, names with references among it, without a bound on what
// comes out. This one decodes what is asked of it.
type answer struct {
	kind    dhcpv6.MessageType
	xid     dhcpv6.TransactionID
	options options
}

// parse reads the head of a message.
func parse(raw []byte) (p answer, ok bool) {
	if len(raw) < 4 || len(raw) > maxMessage {
		return answer{}, false
	}
	return answer{dhcpv6.MessageType(raw[0]), dhcpv6.TransactionID(raw[1:4]), raw[4:]}, true
}

// options are the options of a message, or within an option, as they arrived.
type options []byte

// all returns the values of the options. It ends at one that is cut off.
func (o options) all() iter.Seq2[dhcpv6.OptionCode, []byte] {
	return func(yield func(dhcpv6.OptionCode, []byte) bool) {
		for rest := []byte(o); len(rest) >= 4; {
			end := 4 + int(binary.BigEndian.Uint16(rest[2:]))
			if end > len(rest) || !yield(dhcpv6.OptionCode(binary.BigEndian.Uint16(rest)), rest[4:end]) {
				return
			}
			rest = rest[end:]
		}
	}
}

// each returns the values of the options with that code.
func (o options) each(code dhcpv6.OptionCode) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for c, value := range o.all() {
			if c == code && !yield(value) {
				return
			}
		}
	}
}

// first returns the value of the first option with that code, and whether there is
// one.
func (o options) first(code dhcpv6.OptionCode) ([]byte, bool) {
	for value := range o.each(code) {
		return value, true
	}
	return nil, false
}

// whole reports whether no option is cut off.
func (o options) whole() bool {
	size := 0
	for _, value := range o.all() {
		size += 4 + len(value)
	}
	return size == len(o)
}

// seconds returns the value of an option that is a number of seconds.
func (o options) seconds(code dhcpv6.OptionCode) (time.Duration, bool) {
	value, _ := o.first(code)
	if len(value) != 4 {
		return 0, false
	}
	return secondsOf(value), true
}

func secondsOf(raw []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(raw)) * time.Second
}

// preference returns a server's preference, which is 0 unless it says otherwise (RFC
// 8415, section 18.2.1).
func (o options) preference() uint8 {
	value, _ := o.first(dhcpv6.OptionPreference)
	if len(value) != 1 {
		return 0
	}
	return value[0]
}

// status returns the status and its text; without the option all is well.
func (o options) status() (iana.StatusCode, string) {
	value, _ := o.first(dhcpv6.OptionStatusCode)
	if len(value) < 2 {
		return iana.StatusSuccess, ""
	}
	return iana.StatusCode(binary.BigEndian.Uint16(value)), string(value[2:])
}

// association is an IA_NA option (RFC 8415, section 21.4).
type association struct {
	iaid    [4]byte
	t1, t2  time.Duration
	options options
}

// association returns the IA_NA with that IAID.
func (o options) association(iaid [4]byte) (association, bool) {
	for value := range o.each(dhcpv6.OptionIANA) {
		if len(value) >= 12 && [4]byte(value) == iaid {
			return association{iaid, secondsOf(value[4:8]), secondsOf(value[8:12]), value[12:]}, true
		}
	}
	return association{}, false
}

// iaAddress is an IA Address option (RFC 8415, section 21.6).
type iaAddress struct {
	addr             netip.Addr
	preferred, valid time.Duration
	options          options
}

func (o options) addresses() iter.Seq[iaAddress] {
	return func(yield func(iaAddress) bool) {
		for value := range o.each(dhcpv6.OptionIAAddr) {
			if len(value) < 24 {
				continue
			}
			a := iaAddress{netip.AddrFrom16([16]byte(value)), secondsOf(value[16:20]), secondsOf(value[20:24]), value[24:]}
			if !yield(a) {
				return
			}
		}
	}
}
