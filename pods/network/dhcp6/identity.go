package dhcp6

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net"

	"kios/internal/identity"
)

// Types of DUID and of hardware, as IANA numbers them.
const (
	duidLL   = 3
	duidUUID = 4
	ethernet = 1

	maxDUID = 130 // bytes (RFC 8415, section 11.1)
)

// application makes the UUIDs of this client differ from those that other
// programs derive from the same machine-id.
const application = "kios DHCPv6 DUID"

// DUID returns the name of the machine whose machine-id(5) is the text, or if that is
// none, of the card with this address.
func DUID(machineID string, mac net.HardwareAddr) []byte {
	if duid := DUIDFromMachineID(machineID); duid != nil {
		return duid
	}
	return DUIDFromMAC(mac)
}

// DUIDFromMachineID returns a DUID-UUID (RFC 6355) for the machine whose
// machine-id(5) is id, or nil if it is none. As that page asks, the ID cannot be
// found out from the UUID.
func DUIDFromMachineID(id string) []byte {
	id, err := identity.ParseMachineID(id)
	if err != nil {
		return nil
	}
	key, err := hex.DecodeString(id)
	if err != nil {
		return nil
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(application))
	uuid := mac.Sum(nil)[:16]
	uuid[6] = uuid[6]&0x0f | 0x40 // version 4: random
	uuid[8] = uuid[8]&0x3f | 0x80 // variant of RFC 9562
	return append(binary.BigEndian.AppendUint16(nil, duidUUID), uuid...)
}

// DUIDFromMAC returns a DUID-LL, for a machine without an ID.
func DUIDFromMAC(mac net.HardwareAddr) []byte {
	duid := binary.BigEndian.AppendUint16(nil, duidLL)
	duid = binary.BigEndian.AppendUint16(duid, ethernet)
	return append(duid, mac...)
}

// IAIDFromMAC returns the IAID of the interface with that Ethernet address: its
// last four bytes, in which the interfaces of one machine differ.
func IAIDFromMAC(mac net.HardwareAddr) [4]byte {
	var iaid [4]byte
	copy(iaid[:], mac[max(0, len(mac)-4):])
	return iaid
}

// IAIDFromName returns the IAID of an interface that shares its Ethernet address
// with others, as a VLAN does with what it is on: servers may take the lease of one
// for that of the other if their IAIDs are the same (RFC 8415, section 12).
func IAIDFromName(mac net.HardwareAddr, name string) [4]byte {
	sum := sha256.Sum256(append(bytes.Clone(mac), name...))
	return [4]byte(sum[:])
}
