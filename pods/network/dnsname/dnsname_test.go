package dnsname

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"kios/test/lab"
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
		{"\x40" + strings.Repeat("a", 64) + "\x00", "", "", ErrCutOff}, // no length that RFC 1035 knows
		{"\x01a\xc0\x02", "", "", ErrPointer},                          // to itself
		{"\x01a\xc0", "", "", ErrCutOff},
	} {
		name, rest, err := Decode([]byte(tc.raw))
		if name != tc.name || string(rest) != tc.rest || !errors.Is(err, tc.err) {
			t.Errorf("Decode(%q) = %q, %q, %v, want %q, %q, %v", tc.raw, name, rest, err, tc.name, tc.rest, tc.err)
		}
	}
}

func TestList(t *testing.T) {
	for _, tc := range []struct {
		what, raw string
		names     []string
		err       error
	}{
		{"plain", "\x01a\x00\x01b\x00", []string{"a", "b"}, nil},
		{"padded", "\x01a\x00\x00\x00", []string{"a"}, nil},
		{"a pointer", "\x01a\x07example\x00\x01b\xc0\x02", []string{"a.example", "b.example"}, nil},
		{"a pointer to a pointer", "\x03lab\x07example\x00\x03eng\xc0\x00\x01x\xc0\x0d",
			[]string{"lab.example", "eng.lab.example", "x.eng.lab.example"}, nil},
		{"only a pointer", "\x01a\x00\xc0\x00", []string{"a", "a"}, nil},
		{"a name after a pointer", "\x01a\x00\x01b\xc0\x00\x01c\x00", []string{"a", "b.a", "c"}, nil},
		{"a loop of two", "\x01a\xc0\x04\x01b\xc0\x00", nil, ErrPointer},
		{"a pointer to its own name", "\x01a\x00\x01b\xc0\x03", []string{"a"}, ErrPointer},
		{"a pointer to the end", "\x01a\x00\x01b\xc0\x07", []string{"a"}, ErrPointer},
		{"half a pointer", "\x01a\x00\x01b\xc0", []string{"a"}, ErrCutOff},
		{"cut off", "\x01a\x00\x09b", []string{"a"}, ErrCutOff},
		{"no end", "\x01a\x00\x01b", []string{"a"}, ErrNoEnd},
		{"too long", "\x01a\x00" + strings.Repeat("\x01b", 127) + "\x01c\x00", []string{"a"}, ErrTooLong},
		{"too long by a pointer", strings.Repeat("\x01b", 127) + "\x00\x01c\xc0\x00", []string{strings.Repeat("b.", 126) + "b"}, ErrTooLong},
		{"many", strings.Repeat("\x01a\x00", 40), slices.Repeat([]string{"a"}, limit), ErrMany},
	} {
		names, err := List([]byte(tc.raw))
		if !slices.Equal(names, tc.names) || !errors.Is(err, tc.err) {
			t.Errorf("%s: List = %q, %v, want %q, %v", tc.what, names, err, tc.names, tc.err)
		}
	}
}

func TestHostname(t *testing.T) {
	long := "gke-very-long-cluster-name-default-pool-1a2b3c4d-x9z8"
	for _, tc := range []struct{ sent, name, remark string }{
		{"Node-7\x00", "node-7", ""},
		{"node-7.lab.example.", "node-7.lab.example", ""},
		{"", "", ""},
		{"localhost.localdomain", "", ""},
		{long + ".us-central1-a.c.my-project-123456.internal", long, "is changed to " + long + ": the name has 96 characters"},
		{"rack_7_node", "rack-7-node", `"rack_7_node" is changed to rack-7-node`},
		{"node_7.lab_2.example", "node-7.lab-2.example", "is changed"},
		{"node-7.a lab", "node-7", "is changed"},
		{"node 7\n", "", `"node 7\n" is left out`},
		{"_node", "", "is left out"},
		{"-node-", "", "is left out"},
		{strings.Repeat("a", 64), "", "is left out"}, // whose end would be lost
		{strings.Repeat("a b", 1000), "", "is left out"},
	} {
		name, remark := Hostname(tc.sent)
		if name != tc.name || !strings.Contains(remark, tc.remark) || (remark == "") != (tc.remark == "") || len(remark) > 500 {
			t.Errorf("Hostname(%.200q) = %q, %q, want %q, %q", tc.sent, name, remark, tc.name, tc.remark)
		}
	}
}

// bomb is an option as long as one can be: a name that fills the first half, and
// references to it.
func bomb() []byte {
	half := []byte(strings.Repeat("\x01a", 0x3fff/2))
	return append(append(half, 0), strings.Repeat("\xc0\x00", 0x5fff)...)
}

// FuzzList checks that reading names takes little memory, whatever they are.
func FuzzList(f *testing.F) {
	f.Add(bomb())
	f.Add([]byte("\x01a\x07example\x00\x01b\xc0\x02"))
	f.Add([]byte("\x3f" + strings.Repeat("a", 63) + strings.Repeat("\xc0\x00", 1000)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var names []string
		if took := lab.Allocated(func() { names, _ = List(raw) }); took > 256<<10 {
			t.Errorf("%d bytes became %d", len(raw), took)
		}
		for _, name := range names {
			if len(name) > maxEncoded || name == "" {
				t.Errorf("%d names, one of %d bytes", len(names), len(name))
			}
		}
	})
}
