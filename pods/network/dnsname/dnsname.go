// Package dnsname checks domain names, and decodes them from the form of RFC
// 1035, sections 3.1 and 4.1.4. Names come from strangers on the network: what Valid accepts
// can be written into a file of lines and words.
package dnsname

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"kios/internal/identity"
)

const chars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// Valid reports whether name is a domain name, with or without a dot at the end.
// It consists of nothing but letters, digits, hyphens, underscores and dots.
func Valid(name string) bool {
	for _, label := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, chars) != "" {
			return false
		}
	}
	return len(name) <= 253
}

// Filter returns the names that are valid, without a dot at the end.
func Filter(names []string) []string {
	var valid []string
	for _, name := range names {
		if Valid(name) {
			valid = append(valid, strings.TrimSuffix(name, "."))
		}
	}
	return valid
}

// Hostname makes a name for this machine of one that a server sent. It is "" if
// there is none to be made. The remark says why it is not what was sent, or is "".
//
// A name that the kernel does not take is not cut: what tells machines apart is
// often at its end. Its first label, which clouds and sites make unique, is a name.
// An underscore, which DNS has and a host name has not, becomes a hyphen.
func Hostname(sent string) (name, remark string) {
	sent = strings.TrimSuffix(strings.TrimRight(sent, "\x00"), ".")
	if sent == "" || sent == "localhost" || strings.HasPrefix(sent, "localhost.") {
		return "", ""
	}
	name, reason := identity.ParseHostname(sent)
	if reason == nil {
		return name, ""
	}
	spelled := strings.ReplaceAll(sent, "_", "-")
	label, _, _ := strings.Cut(spelled, ".")
	for _, candidate := range []string{spelled, label} {
		if name, err := identity.ParseHostname(candidate); err == nil {
			return name, fmt.Sprintf("its host name %s is changed to %s: %v", Quote(sent), name, reason)
		}
	}
	return "", fmt.Sprintf("its host name %s is left out: %v", Quote(sent), reason)
}

// Quote returns text of strangers for a line of the log, where it is not to take
// much room.
func Quote(text string) string {
	const most = 100
	if len(text) > most {
		return fmt.Sprintf("%.*q...", most, text)
	}
	return fmt.Sprintf("%q", text)
}

// Errors of Decode and List.
var (
	ErrCutOff  = errors.New("the name ends in the middle of a label")
	ErrNoEnd   = errors.New("the name has no zero at its end")
	ErrPointer = errors.New("the name refers to something that is not before it")
	ErrTooLong = errors.New("the name is longer than 255 bytes")
	ErrMany    = fmt.Errorf("there are more than %d names", limit)
)

const (
	maxEncoded = 255 // RFC 1035, section 3.1
	limit      = 32  // the most search domains that the kubelet takes
)

// Decode reads the first name of raw, which need not be valid, and returns what
// follows it. With ErrNoEnd comes the name up to the end of raw, because some
// options leave out the zero.
func Decode(raw []byte) (name string, rest []byte, err error) {
	name, next, err := decodeAt(raw, 0)
	if err != nil && !errors.Is(err, ErrNoEnd) {
		return "", nil, err
	}
	return name, raw[next:], err
}

// List reads the names that raw consists of, without the empty ones, which pad
// some options. A name may end with a reference to one before it, and that one,
// too (RFC 1035, section 4.1.4, which RFC 3397 has for DHCP; other protocols do
// without). With an error come the names before the mistake.
func List(raw []byte) (names []string, err error) {
	for at := 0; at < len(raw); {
		name, next, err := decodeAt(raw, at)
		if err != nil {
			return names, err
		}
		if name != "" && len(names) == limit {
			return names, ErrMany
		}
		if name != "" {
			names = append(names, name)
		}
		at = next
	}
	return names, nil
}

// decodeAt reads the name at an offset of raw and returns the offset of what
// follows. Strangers write names: whatever they hold, a name is at most maxEncoded
// bytes, and as each reference leads to before the one that led to it, there is an
// end to them.
func decodeAt(raw []byte, at int) (name string, next int, err error) {
	var labels []string
	size, first := 1, at // of the name; the first byte of the part being read
	for at < len(raw) && raw[at] != 0 {
		if isPointer(raw[at]) {
			to, err := target(raw, at, first)
			if err != nil {
				return "", 0, err
			}
			next, at, first = max(next, at+2), to, to
			continue
		}
		end := at + 1 + int(raw[at])
		if end > len(raw) || raw[at] > 63 {
			return "", 0, ErrCutOff
		}
		if size += end - at; size > maxEncoded {
			return "", 0, ErrTooLong
		}
		labels, at = append(labels, string(raw[at+1:end])), end
	}
	name = strings.Join(labels, ".")
	if at >= len(raw) {
		return name, len(raw), ErrNoEnd
	}
	return name, max(next, at+1), nil
}

func isPointer(b byte) bool { return b&0xc0 == 0xc0 }

// target returns the offset to which the pointer at an offset leads: one before
// the part of the name that the pointer ends.
func target(raw []byte, at, first int) (int, error) {
	if at+1 >= len(raw) {
		return 0, ErrCutOff
	}
	to := int(binary.BigEndian.Uint16(raw[at:]) &^ 0xc000)
	if to >= first {
		return 0, ErrPointer
	}
	return to, nil
}
