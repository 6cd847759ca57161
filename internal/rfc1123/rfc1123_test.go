package rfc1123

import (
	"strings"
	"testing"
)

func TestGrammars(t *testing.T) {
	for _, tt := range []struct {
		text             string
		label, subdomain bool
	}{
		{"a", true, true},
		{"node-1", true, true},
		{"1", true, true},
		{strings.Repeat("a", 63), true, true},
		{strings.Repeat("a", 64), false, true},
		{"a.example", false, true},
		{strings.Repeat("a.", 126) + "a", false, true},
		{strings.Repeat("a.", 127), false, false},
		{strings.Repeat("a.", 127) + "a", false, false},
		{"", false, false},
		{"-a", false, false},
		{"a-", false, false},
		{"A", false, false},
		{"a_b", false, false},
		{"a..b", false, false},
		{"a.-b", false, false},
		{".a", false, false},
		{"a\n", false, false},
		{"ä", false, false},
	} {
		if got := IsLabel(tt.text); got != tt.label {
			t.Errorf("IsLabel(%q) = %v, want %v", tt.text, got, tt.label)
		}
		if got := IsSubdomain(tt.text); got != tt.subdomain {
			t.Errorf("IsSubdomain(%q) = %v, want %v", tt.text, got, tt.subdomain)
		}
	}
}
