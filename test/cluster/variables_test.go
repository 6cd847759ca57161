//go:build cluster

package cluster

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"kios/host/clusterconfig"
	"kios/test/lab"
)

// TestUEFIVariables boots a machine with nothing but variables in its firmware, which
// make it a node of a cluster.
func TestUEFIVariables(t *testing.T) {
	lab.Long(t)
	lab.Only(t, "the flash that the variables are written into is OVMF's")
	t.Parallel()
	e := newEnv(t, clusterconfig.Config{})
	n := e.prepare(setup{name: "uefi-worker", cloud: true, etc: noNetwork, memory: 768})
	n.cfg.Kernel, n.cfg.Initrd, n.cfg.Append = "", "", ""
	n.setVariables(t, []variable{
		{"Hostname", "uefi-worker"},
		{"Kube-Api-Endpoint", "https://" + endpoint},
		{"Kube-CA-Cert", e.ca},
		{"Kube-Bootstrap-Token", e.cluster.Token()},
		{"Node-Label-example.com_team", "blue"},
		{"Nameserver0", "\x0a\x4f\x00\x01"}, // 10.79.0.1
	})
	n.start(t)
	u := e.admin(t)
	u.waitFor("node/"+n.name, "create")
	u.waitFor("node/"+n.name, "condition=Ready")
	u.demand(u.field("node/"+n.name, `{.metadata.labels.example\.com/team}`), "blue")
	n.bringProbe(u)
	u.demand(n.probe(t, "cat", "/etc/resolv.conf"), "nameserver "+gateway)
	u.demand(n.probe(t, "cat", "/run/kios/metadata.json"), `"provider": "uefi"`, `"hostname": "uefi-worker"`)
	n.powerOff(t)
}

// variable is one of the firmware's with the vendor GUID of kiOS.
type variable struct{ name, value string }

// setVariables has the machine's flash hold variables, as the firmware keeps them.
func (n *node) setVariables(t *testing.T, variables []variable) {
	t.Helper()
	flash, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd") // without any variable
	lab.Must(t, err)
	at := variableStore
	for _, v := range variables {
		at += copy(flash[at:], v.encode())
		at = (at + 3) &^ 3
	}
	lab.Must(t, os.WriteFile(filepath.Join(n.cfg.Dir, "efivars.fd"), flash, 0o600))
}

// variableStore is where variables begin: after the header of the firmware volume, of 0x48
// bytes, and that of the store.
const variableStore = 0x48 + 28

// encode writes a variable as EDK II keeps it in flash (AUTHENTICATED_VARIABLE_HEADER in
// MdeModulePkg/Include/Guid/VariableFormat.h).
func (v variable) encode() []byte {
	name := append(utf16.Encode([]rune(v.name)), 0)
	header := struct {
		Start               uint16
		State, _            byte
		Attributes          uint32
		_                   [8 + 16 + 4]byte // of signed variables
		NameSize, ValueSize uint32
		Data1               uint32
		Data2, Data3        uint16
		Data4               [8]byte
	}{
		Start: 0x55aa, State: 0x3f, // it is whole
		Attributes: 7, // kept, and for the firmware and the system to read
		NameSize:   uint32(2 * len(name)), ValueSize: uint32(len(v.value)),
		Data1: 0x3a3ae00f, Data2: 0xcf4d, Data3: 0x4977, Data4: [8]byte{0x87, 0x66, 0x8e, 0xa5, 0x75, 0xf6, 0xbf, 0x4f},
	}
	var b bytes.Buffer
	for _, part := range []any{header, name, []byte(v.value)} {
		_ = binary.Write(&b, binary.LittleEndian, part) // which a buffer always takes
	}
	return b.Bytes()
}
