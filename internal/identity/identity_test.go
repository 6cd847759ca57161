package identity

import (
	"errors"
	"strings"
	"testing"
)

func TestParseMachineID(t *testing.T) {
	tests := []struct {
		text, want string
		ok         bool
	}{
		{"0123456789abcdef0123456789abcdef\n", "0123456789abcdef0123456789abcdef", true},
		{"0123456789ABCDEF0123456789ABCDEF\n", "", false},
		{"01234567-89ab-cdef-0123-456789abcdef\n", "", false},
		{"00000000000000000000000000000000", "", false},
		{"uninitialized\n", "", false},
		{"", "", false},
	}
	for _, tt := range tests {
		if got, err := ParseMachineID(tt.text); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParseMachineID(%q) = %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
}

func TestNewMachineID(t *testing.T) {
	tests := []struct {
		uuid   string
		stable bool
	}{
		{"4b1f0a52-8c0e-4a35-9a5d-2f7f3f1f8a11\n", true},
		{"4B1F0A52-8C0E-4A35-9A5D-2F7F3F1F8A11", true},
		{"", false},
		{"00000000-0000-0000-0000-000000000000", false},
		{"FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", false},
		{"03000200-0400-0500-0006-000700080009", false},
		{"Not Settable", false},
	}
	for _, tt := range tests {
		a, b := NewMachineID(tt.uuid), NewMachineID(tt.uuid)
		if _, err := ParseMachineID(a); err != nil {
			t.Errorf("NewMachineID(%q) = %q: %v", tt.uuid, a, err)
		}
		if (a == b) != tt.stable {
			t.Errorf("NewMachineID(%q) twice: %s, %s, want the same: %v", tt.uuid, a, b, tt.stable)
		}
	}
	if NewMachineID(tests[0].uuid) != NewMachineID(tests[1].uuid) {
		t.Error("the case of the UUID changes the machine id")
	}
}

func TestSameUUID(t *testing.T) {
	const a, swapped = "00112233-4455-6677-8899-aabbccddeeff", "33221100-5544-7766-8899-aabbccddeeff"
	for b, want := range map[string]bool{
		a: true, swapped: true, "33221100-5544-7766-9988-aabbccddeeff": false, "33221100-4455-6677-8899-aabbccddeeff": false, "": false, "x": false,
	} {
		if SameUUID(a, b) != want || SameUUID(b, a) != want {
			t.Errorf("SameUUID of %q is not %v", b, want)
		}
	}
	if Swapped("x-1") != "x-1" || Swapped(a) != swapped {
		t.Errorf("Swapped = %q", Swapped(a))
	}
}

func TestParseHostname(t *testing.T) {
	tests := []struct {
		text, want string
		err        string
	}{
		{"node-1\n", "node-1", ""},
		{"  Node-1.Example.COM \r\n second line\n", "node-1.example.com", ""},
		{"\n\nnode\n", "node", ""},
		{"", "", "empty"},
		{" \n", "", "empty"},
		{"# node\nnode-1\n", "node-1", ""},
		{"#\r\n\r\n  # ours\r\n  node-1\r\n# more\r\n", "node-1", ""},
		{"\ufeffnode-1\n", "node-1", ""},
		{"# node-1\n", "", "empty"},
		{"node-1 # ours", "", "is no host name"},
		{"a_b", "", `"a_b" is no host name`},
		{"-a", "", "is no host name"},
		{"a..b", "", "is no host name"},
		{"a b", "", "is no host name"},
		{"node\x00", "", "is no host name"},
		{strings.Repeat("a", 64), "", "is no host name"},
		{strings.Repeat("a.", 40), "", "80 characters"},
	}
	for _, tt := range tests {
		got, err := ParseHostname(tt.text)
		if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("ParseHostname(%q) = %q, %v, want %q, %q", tt.text, got, err, tt.want, tt.err)
		}
	}
	if _, err := ParseHostname("\n"); !errors.Is(err, ErrEmpty) {
		t.Errorf("error of an empty name = %v, want ErrEmpty", err)
	}
}

func TestHostname(t *testing.T) {
	name := Hostname("0123456789abcdef0123456789abcdef")
	if _, err := ParseHostname(name); err != nil || len(name) != len("kios-01234567") {
		t.Errorf("Hostname = %q, %v", name, err)
	}
	if name == Hostname("1123456789abcdef0123456789abcdef") {
		t.Error("two machine ids have one name")
	}
}

func TestHosts(t *testing.T) {
	const ours = "127.0.1.1 node # this node, kept by kiOS\n"
	tests := []struct{ text, want string }{
		{"", ours},
		{"127.0.0.1 localhost\n", "127.0.0.1 localhost\n" + ours},
		{"127.0.0.1 localhost", "127.0.0.1 localhost\n" + ours},
		{"10.0.0.1 NODE other\n", "10.0.0.1 NODE other\n"},
		{"10.0.0.1 other # node\n", "10.0.0.1 other # node\n" + ours},
		{"127.0.1.1 old # this node, kept by kiOS\n# mine\n", "# mine\n" + ours},
		{ours, ours},
	}
	for _, tt := range tests {
		if got := Hosts(tt.text, "node"); got != tt.want {
			t.Errorf("Hosts(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
}
