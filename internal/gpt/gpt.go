// Package gpt reads and writes GUID partition tables, as chapter 5 of the UEFI
// specification (2.10) defines them. PID 1 finds the data partition with it,
// the host writes disk images, and the pod "disk" makes a table on a blank disk
// and extends the last partition of one that has grown.
//
// It reads what firmware would accept (checksums of header and entries are
// right, the backup counts when the primary is damaged) and repairs nothing.
// The protective MBR is written, but not asked for when reading: a disk whose
// MBR was overwritten still has its partitions.
package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

const (
	signature    = "EFI PART"
	revision     = 0x00010000
	headerSize   = 92
	entrySize    = 128
	entryCount   = 128
	maxEntrySize = 4096
	maxEntries   = 256 << 10 // bytes; 16 KiB are usual
	nameUnits    = 36        // UTF-16 code units in a partition's name
)

// ErrNoTable says that there is no GUID partition table at all: neither header
// has the signature.
var ErrNoTable = errors.New("no GUID partition table")

// Table is a disk's partition table.
type Table struct {
	DiskGUID   GUID
	SectorSize int64  // bytes: 512 or 4096
	Sectors    uint64 // of the whole disk; 0 when Read was not told
	Partitions []Partition
}

// Partition is one used entry of a table.
type Partition struct {
	Number     int // from 1, the place in the table; the kernel names partitions by it
	Type       GUID
	GUID       GUID
	FirstLBA   uint64
	LastLBA    uint64 // inclusive
	Attributes uint64
	Name       string
}

// Sectors returns how many sectors the partition has.
func (p Partition) Sectors() uint64 { return p.LastLBA - p.FirstLBA + 1 }

// header holds the fields of a GPT header that are of use here.
type header struct {
	myLBA      uint64
	alternate  uint64
	lastUsable uint64
	disk       GUID
	entriesLBA uint64
	entries    uint32
	entrySize  uint32
	entriesCRC uint32
}

// Read reads the table of a disk with the given sector size in bytes. If the
// primary header at LBA 1 or its entries are damaged, the backup in the last
// of the disk's sectors is used; pass sectors as 0 if the size is not known,
// and the backup is not tried. The error is ErrNoTable when neither place
// holds a table.
func Read(r io.ReaderAt, sectorSize int64, sectors uint64) (*Table, error) {
	if sectorSize < 512 || sectorSize > 65536 || sectorSize&(sectorSize-1) != 0 {
		return nil, fmt.Errorf("read GPT: sector size %d is not a power of two from 512 to 65536", sectorSize)
	}
	t, err := readAt(r, sectorSize, sectors, 1)
	if err == nil || sectors < 3 {
		return t, err
	}
	backup, backupErr := readAt(r, sectorSize, sectors, sectors-1)
	if backupErr == nil {
		return backup, nil
	}
	if errors.Is(err, ErrNoTable) {
		return nil, backupErr
	}
	return nil, err
}

// readAt reads the table whose header is at lba.
func readAt(r io.ReaderAt, sectorSize int64, sectors, lba uint64) (*Table, error) {
	h, _, err := readHeader(r, sectorSize, lba)
	if err != nil {
		return nil, err
	}
	raw, err := readEntries(r, sectorSize, h)
	if err != nil {
		return nil, err
	}
	return decodeTable(h, raw, sectorSize, sectors)
}

func readEntries(r io.ReaderAt, sectorSize int64, h *header) ([]byte, error) {
	raw := make([]byte, h.entries*h.entrySize)
	if err := readFull(r, raw, sectorSize, h.entriesLBA); err != nil {
		return nil, fmt.Errorf("read GPT entries at LBA %d: %w", h.entriesLBA, err)
	}
	if crc32.ChecksumIEEE(raw) != h.entriesCRC {
		return nil, fmt.Errorf("read GPT entries at LBA %d: checksum is wrong", h.entriesLBA)
	}
	return raw, nil
}

func decodeTable(h *header, raw []byte, sectorSize int64, sectors uint64) (*Table, error) {
	t := &Table{DiskGUID: h.disk, SectorSize: sectorSize, Sectors: sectors}
	for i := range int(h.entries) {
		p, used := decodeEntry(raw[i*int(h.entrySize):], i+1)
		if !used {
			continue
		}
		if p.FirstLBA > p.LastLBA {
			return nil, fmt.Errorf("read GPT: partition %d ends before it begins", p.Number)
		}
		t.Partitions = append(t.Partitions, p)
	}
	return t, nil
}

// readHeader also returns the sector that the header is in.
func readHeader(r io.ReaderAt, sectorSize int64, lba uint64) (*header, []byte, error) {
	sector := make([]byte, sectorSize)
	if err := readFull(r, sector, sectorSize, lba); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil, ErrNoTable // a disk of one sector
		}
		return nil, nil, fmt.Errorf("read GPT header at LBA %d: %w", lba, err)
	}
	if string(sector[:8]) != signature {
		return nil, nil, ErrNoTable
	}
	h, err := decodeHeader(sector, lba)
	if err != nil {
		return nil, nil, fmt.Errorf("read GPT header at LBA %d: %w", lba, err)
	}
	return h, sector, nil
}

func decodeHeader(sector []byte, lba uint64) (*header, error) {
	le := binary.LittleEndian
	size := le.Uint32(sector[12:])
	if size < headerSize || size > uint32(len(sector)) {
		return nil, fmt.Errorf("header size %d is not from %d to %d", size, headerSize, len(sector))
	}
	sum := le.Uint32(sector[16:])
	raw := bytes.Clone(sector[:size])
	clear(raw[16:20]) // the checksum is taken with its own field zero
	if crc32.ChecksumIEEE(raw) != sum {
		return nil, errors.New("checksum is wrong")
	}
	h := &header{
		myLBA:      le.Uint64(raw[24:]),
		alternate:  le.Uint64(raw[32:]),
		lastUsable: le.Uint64(raw[48:]),
		disk:       GUID(raw[56:72]),
		entriesLBA: le.Uint64(raw[72:]),
		entries:    le.Uint32(raw[80:]),
		entrySize:  le.Uint32(raw[84:]),
		entriesCRC: le.Uint32(raw[88:]),
	}
	return h, h.check(lba)
}

// check bounds what a header asks for, so that a hostile disk cannot make the
// reader allocate without limit.
func (h *header) check(lba uint64) error {
	switch {
	case h.myLBA != lba:
		return fmt.Errorf("header says that it is at LBA %d", h.myLBA)
	case h.entrySize < entrySize || h.entrySize > maxEntrySize || h.entrySize%8 != 0:
		return fmt.Errorf("entry size %d is not a multiple of 8 from %d to %d", h.entrySize, entrySize, maxEntrySize)
	case uint64(h.entries)*uint64(h.entrySize) > maxEntries:
		return fmt.Errorf("%d entries of %d bytes are more than %d bytes", h.entries, h.entrySize, maxEntries)
	}
	return nil
}

func decodeEntry(b []byte, number int) (p Partition, used bool) {
	le := binary.LittleEndian
	p = Partition{
		Number:     number,
		Type:       GUID(b[0:16]),
		GUID:       GUID(b[16:32]),
		FirstLBA:   le.Uint64(b[32:]),
		LastLBA:    le.Uint64(b[40:]),
		Attributes: le.Uint64(b[48:]),
		Name:       decodeName(b[56:entrySize]),
	}
	return p, p.Type != GUID{}
}

func decodeName(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// readFull fills buf from the sector lba on.
func readFull(r io.ReaderAt, buf []byte, sectorSize int64, lba uint64) error {
	if lba > uint64(1<<63-1)/uint64(sectorSize)-uint64(len(buf)) {
		return fmt.Errorf("LBA %d is out of range", lba)
	}
	n, err := r.ReadAt(buf, int64(lba)*sectorSize)
	if n == len(buf) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}
