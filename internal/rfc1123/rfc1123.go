// Package rfc1123 knows the grammars of names in lower case that DNS, host names
// and Kubernetes share. It leaves out the keys and values of labels, which are
// Kubernetes' own (internal/kubeletargs).
package rfc1123

import "strings"

const alphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789"

// IsLabel reports whether s is a label of a host name by RFC 1123: up to 63
// letters, digits and hyphens, the last neither first nor last.
func IsLabel(s string) bool { return len(s) <= 63 && isWord(s) }

// IsSubdomain reports whether s is what Kubernetes calls a DNS-1123 subdomain: up
// to 253 characters, words as those of IsLabel between dots. The words may be
// longer than labels.
func IsSubdomain(s string) bool {
	for word := range strings.SplitSeq(s, ".") {
		if !isWord(word) {
			return false
		}
	}
	return len(s) <= 253
}

func isWord(s string) bool {
	return s != "" && strings.Trim(s, alphanumeric+"-") == "" && strings.Trim(s[:1]+s[len(s)-1:], alphanumeric) == ""
}
