package dhcp

import (
	"bytes"
	"net"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Offsets of a message's fields (RFC 2131, figure 1).
const (
	atXID     = 4
	atYours   = 16
	atChaddr  = 28
	atSname   = 44
	atFile    = 108
	atCookie  = 236
	atOptions = 240
)

var cookie = []byte{99, 130, 83, 99} // before options (RFC 2131, section 3)

const (
	optionPad = 0
	optionEnd = 255
)

// answers reports whether a message is a reply to the client with that address in
// that transaction. Only then it is worth reading.
func answers(raw []byte, xid dhcpv4.TransactionID, mac net.HardwareAddr) bool {
	return len(raw) >= atOptions && raw[0] == byte(dhcpv4.OpcodeBootReply) &&
		bytes.Equal(raw[atXID:atXID+4], xid[:]) && bytes.HasPrefix(raw[atChaddr:atSname], mac)
}

// parse reads what the client uses of a message that answers it. It does without the
// library's parser, which refuses messages without an End option and knows no
// overload (option 52). What comes out is no longer than what came in. It reports
// whether the options are whole: those before one that is cut off are good.
func parse(raw []byte) (p *dhcpv4.DHCPv4, whole bool) {
	p = &dhcpv4.DHCPv4{YourIPAddr: net.IP(raw[atYours : atYours+4]), Options: dhcpv4.Options{}}
	if !bytes.Equal(raw[atCookie:atOptions], cookie) {
		return p, false
	}
	whole = collect(p.Options, raw[atOptions:])
	if overload := first(p, dhcpv4.OptionOptionOverload, 1); len(overload) == 1 {
		// In the order of RFC 3396, section 5.
		if overload[0]&1 != 0 {
			whole = collect(p.Options, raw[atFile:atCookie]) && whole
		}
		if overload[0]&2 != 0 {
			whole = collect(p.Options, raw[atSname:atFile]) && whole
		}
	}
	return p, whole
}

// first returns what counts of an option of so many bytes. One that is there twice,
// as servers send it that are told to send it by force, arrives as one that is longer
// (RFC 3396).
func first(p *dhcpv4.DHCPv4, code dhcpv4.OptionCode, size int) []byte {
	raw := p.Options.Get(code)
	return raw[:min(len(raw), size)]
}

// kindOf returns the type of a message, or dhcpv4.MessageTypeNone.
func kindOf(p *dhcpv4.DHCPv4) dhcpv4.MessageType {
	raw := first(p, dhcpv4.OptionDHCPMessageType, 1)
	if len(raw) == 0 {
		return dhcpv4.MessageTypeNone
	}
	return dhcpv4.MessageType(raw[0])
}

// serverOf returns the server that a message says to be from, for messages.
func serverOf(p *dhcpv4.DHCPv4) string {
	return net.IP(first(p, dhcpv4.OptionServerIdentifier, 4)).String()
}

// collect adds the options of an area, and reports whether none of them is cut off.
// Parts of an option are put together (RFC 3396).
func collect(options dhcpv4.Options, area []byte) bool {
	for len(area) > 0 && area[0] != optionEnd {
		if area[0] == optionPad {
			area = area[1:]
			continue
		}
		if len(area) < 2 || len(area) < 2+int(area[1]) {
			return false
		}
		next := 2 + int(area[1])
		options[area[0]] = append(options[area[0]], area[2:next]...)
		area = area[next:]
	}
	return true // End may be missing
}
