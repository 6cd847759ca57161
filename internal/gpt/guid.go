package gpt

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// GUID is a globally unique identifier in the byte order it has on disk: the
// first three groups little-endian, the last two as they are printed.
type GUID [16]byte

// Partition types that kiOS knows.
var (
	TypeESP      = MustParseGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b") // EFI system partition
	TypeKiosData = MustParseGUID("97aac693-d920-465a-94fe-eb59fc86dfaa") // kiOS data partition, ext4: a published contract of kiOS
)

// String returns the GUID in lower case with dashes.
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x",
		binary.LittleEndian.Uint32(g[0:]),
		binary.LittleEndian.Uint16(g[4:]),
		binary.LittleEndian.Uint16(g[6:]),
		g[8:10], g[10:16])
}

// ParseGUID reads the form with dashes, in either case.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return g, fmt.Errorf("parse GUID %q: want 8-4-4-4-12 hexadecimal digits", s)
	}
	raw, err := hex.DecodeString(s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil {
		return g, fmt.Errorf("parse GUID %q: %w", s, err)
	}
	binary.LittleEndian.PutUint32(g[0:], binary.BigEndian.Uint32(raw[0:]))
	binary.LittleEndian.PutUint16(g[4:], binary.BigEndian.Uint16(raw[4:]))
	binary.LittleEndian.PutUint16(g[6:], binary.BigEndian.Uint16(raw[6:]))
	copy(g[8:], raw[8:])
	return g, nil
}

// MustParseGUID is ParseGUID for constants: it panics when s is not a GUID.
func MustParseGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}
