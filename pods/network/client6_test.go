package network

import (
	"bytes"
	"net"
	"path/filepath"
	"testing"

	"kios/pods/network/dhcp6"
	"kios/test/lab"
)

// A VLAN has the hardware address of what it is on.
func TestIAIDs(t *testing.T) {
	mac := net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	seen := map[[4]byte]string{}
	for _, l := range []link{{name: "eth0", kind: "device"}, {name: "servers", kind: "vlan"}, {name: "storage", kind: "vlan"}} {
		l.mac = mac
		p := &port{link: l}
		if other, ok := seen[p.iaid()]; ok {
			t.Errorf("%s and %s have the same IAID", l.name, other)
		}
		seen[p.iaid()] = l.name
	}
}

func TestDUIDWithMalformedMachineID(t *testing.T) {
	file := filepath.Join(t.TempDir(), "machine-id")
	p := &port{link: link{mac: net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}}, service: &Service{MachineID: file}}
	want := dhcp6.DUIDFromMAC(p.link.mac)
	if got := p.duid(); !bytes.Equal(got, want) {
		t.Errorf("without a machine-id, DUID = %x, want %x", got, want)
	}
	lab.WriteFile(t, file, "not an ID\n")
	if got := p.duid(); !bytes.Equal(got, want) {
		t.Errorf("with a malformed machine-id, DUID = %x, want %x", got, want)
	}
}
