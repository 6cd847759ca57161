package machine

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"unicode/utf16"
)

// filesystem is what a volume holds.
type filesystem struct {
	kind  string // as mount(2) takes it
	label string
}

// identify returns the file systems of those kinds that clouds give data on. A CD-ROM can
// have two with the same files, UDF and ISO 9660.
func identify(r io.ReaderAt) []filesystem {
	if label, ok := fatLabel(r); ok {
		return []filesystem{{"vfat", label}}
	}
	var found []filesystem
	iso, isISO, isUDF := discs(r)
	if label, ok := udfLabel(r); isUDF && ok {
		found = append(found, filesystem{"udf", label})
	}
	if isISO {
		found = append(found, filesystem{"iso9660", iso})
	}
	return found
}

func readAt(r io.ReaderAt, at int64, size int) []byte {
	b := make([]byte, size)
	n, _ := r.ReadAt(b, at)
	if n < size {
		return nil
	}
	return b
}

// fatLabel reads the boot sector of a FAT: the BIOS parameter block at 11, and behind it
// the extended one, which has the label (Microsoft's FAT specification, 3.1 to 3.3).
func fatLabel(r io.ReaderAt) (label string, ok bool) {
	b := readAt(r, 0, 512)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa || !isFAT(b) {
		return "", false
	}
	signature, labelAt := b[0x26], 0x2b
	if binary.LittleEndian.Uint16(b[22:]) == 0 { // sectors of a table: in FAT32 they are elsewhere
		signature, labelAt = b[0x42], 0x47
	}
	if signature != 0x29 {
		return "", false
	}
	return text(b[labelAt : labelAt+11]), true
}

func isFAT(b []byte) bool {
	sector, cluster, reserved, tables := binary.LittleEndian.Uint16(b[11:]), b[13], binary.LittleEndian.Uint16(b[14:]), b[16]
	powers := sector >= 512 && sector <= 4096 && sector&(sector-1) == 0 && cluster != 0 && cluster&(cluster-1) == 0
	return powers && reserved > 0 && (tables == 1 || tables == 2)
}

func text(b []byte) string { return strings.TrimRight(string(b), " \x00") }

const (
	discSector  = 2048
	descriptors = 16 // where they begin, in sectors
	// The standards bound the list by its end alone.
	maxDescriptors = 32
)

// discs reads the list of descriptors that CD-ROMs have from sector 16 on: those of ISO
// 9660 (ECMA-119, 8) and, behind them, those that announce a UDF (ECMA-167, 2/8).
func discs(r io.ReaderAt) (label string, isISO, isUDF bool) {
	for i := range int64(maxDescriptors) {
		b := readAt(r, (descriptors+i)*discSector, discSector)
		if b == nil {
			return label, isISO, isUDF
		}
		switch string(b[1:6]) {
		case "CD001":
			if b[0] == 1 && !isISO { // the primary one
				label, isISO = text(b[40:72]), true
			}
		case "NSR02", "NSR03":
			isUDF = true
		case "BEA01", "TEA01", "BOOT2", "CDW02":
		default:
			return label, isISO, isUDF
		}
	}
	return label, isISO, isUDF
}

const (
	tagAnchor  = 2
	tagLogical = 6
	tagEnd     = 8
	// where UDF's anchor is, in sectors, whose size the medium decides
	anchorAt = 256
)

// udfLabel reads the label of a UDF, the name of its logical volume: the anchor says
// where the descriptors of the volume are (ECMA-167, 3/10.2 and 3/10.6).
func udfLabel(r io.ReaderAt) (label string, ok bool) {
	for _, sector := range []int64{2048, 512, 4096} {
		anchor := readAt(r, anchorAt*sector, 512)
		if !hasTag(anchor, tagAnchor) {
			continue
		}
		length, start := binary.LittleEndian.Uint32(anchor[16:]), int64(binary.LittleEndian.Uint32(anchor[20:]))
		if label, ok := logicalVolume(r, start*sector, min(int64(length)/sector, maxDescriptors), sector); ok {
			return label, true
		}
	}
	return "", false
}

func logicalVolume(r io.ReaderAt, at, count, sector int64) (label string, ok bool) {
	for i := range count {
		b := readAt(r, at+i*sector, 512)
		switch {
		case hasTag(b, tagLogical):
			return dstring(b[84:212]), true
		case b == nil, hasTag(b, tagEnd):
			return "", false
		}
	}
	return "", false
}

// hasTag reports whether a descriptor is of a kind: the tag says so, and that its own
// bytes, but for the fifth, sum up to that (ECMA-167, 3/7.2).
func hasTag(b []byte, kind uint16) bool {
	if b == nil || binary.LittleEndian.Uint16(b) != kind {
		return false
	}
	var sum byte
	for i, c := range b[:16] {
		if i != 4 {
			sum += c
		}
	}
	return sum == b[4]
}

// dstring decodes a name of UDF (UDF specification, 2.1.2): the last byte is the length
// of the rest, whose first byte says how many bits a character has.
func dstring(b []byte) string {
	used := int(b[len(b)-1])
	if used < 1 || used >= len(b) {
		return ""
	}
	if b[0] == 16 {
		return utf16Text(b[1:used])
	}
	runes := make([]rune, 0, used)
	for _, c := range bytes.TrimRight(b[1:used], "\x00") {
		runes = append(runes, rune(c))
	}
	return string(runes)
}

func utf16Text(b []byte) string {
	units := make([]uint16, 0, len(b)/2)
	for ; len(b) >= 2; b = b[2:] {
		units = append(units, binary.BigEndian.Uint16(b))
	}
	return strings.TrimRight(string(utf16.Decode(units)), "\x00")
}
