package dnsname

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestValid(t *testing.T) {
	for name, want := range map[string]bool{
		"example": true, "a.example.": true, "_tcp.a-1.example": true,
		"": false, ".": false, "a..b": false, "a b": false, "a\nnameserver": false, "é": false,
		strings.Repeat("a", 64): false, strings.Repeat("a.", 127) + "a.a": false,
	} {
		if got := Valid(name); got != want {
			t.Errorf("Valid(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestFilter(t *testing.T) {
	got := Filter([]string{"a.example.", "b example", "c.example"})
	if want := []string{"a.example", "c.example"}; !slices.Equal(got, want) {
		t.Errorf("Filter = %q, want %q", got, want)
	}
}

func TestDecode(t *testing.T) {
	for _, tc := range []struct {
		raw, name, rest string
		err             error
	}{
		{"\x01a\x07example\x00\x01b", "a.example", "\x01b", nil},
		{"\x00\x00", "", "\x00", nil},
		{"\x01a", "a", "", ErrNoEnd},
		{"", "", "", ErrNoEnd},
		{"\x02a", "", "", ErrCutOff},
		{"\x01a\xc0\x02", "", "", ErrCutOff}, // compressed
	} {
		name, rest, err := Decode([]byte(tc.raw))
		if name != tc.name || string(rest) != tc.rest || !errors.Is(err, tc.err) {
			t.Errorf("Decode(%q) = %q, %q, %v, want %q, %q, %v", tc.raw, name, rest, err, tc.name, tc.rest, tc.err)
		}
	}
}
