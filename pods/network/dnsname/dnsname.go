// Package dnsname checks domain names, and decodes them from the form of RFC
// 1035, section 3.1. Names come from strangers on the network: what Valid accepts
// can be written into a file of lines and words.
package dnsname

import (
	"errors"
	"strings"
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

// Errors of Decode.
var (
	ErrCutOff = errors.New("the name ends in the middle of a label")
	ErrNoEnd  = errors.New("the name has no zero at its end")
)

// Decode reads the first name of raw, which need not be valid, and returns what
// follows it. A compressed name is no name: it is read as one that is cut off or
// that is not valid. With ErrNoEnd comes the name up to the end of raw, because
// some options leave out the zero.
func Decode(raw []byte) (name string, rest []byte, err error) {
	var labels []string
	for len(raw) > 0 && raw[0] != 0 {
		n := int(raw[0])
		if n >= len(raw) {
			return "", nil, ErrCutOff
		}
		labels = append(labels, string(raw[1:1+n]))
		raw = raw[1+n:]
	}
	name = strings.Join(labels, ".")
	if len(raw) == 0 {
		return name, nil, ErrNoEnd
	}
	return name, raw[1:], nil
}
