package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrNotLast says that a partition cannot grow, because another lies behind it.
var ErrNotLast = errors.New("another partition lies behind it")

// growAlign is what the end of a grown partition is aligned to, in bytes.
const growAlign = 1 << 20

// minEntryBytes is the least that the specification reserves for entries.
const minEntryBytes = 16 << 10

// Growth is a change of a table after which it covers the whole disk.
type Growth struct {
	Partition Partition // as it is afterwards
	Patches   []Patch   // to be written in this order; none if the table is right
}

// Grow works out how the partition with the given number gets all that is free
// behind it, and the backup of the table its place in the disk's last sectors.
// What else is in the table stays as it is, byte for byte. The primary table
// has to be sound, because the kernel goes by that alone.
//
// The kernel and firmware take a header only together with the entries that it
// has the checksum of, and the two cannot be written at once. So the primary
// header, one sector, first turns to the entries of the new backup:
//
//	new backup's entries, new backup's header   the old table counts
//	primary header, with the backup's entries   the new table counts
//	primary entries, at LBA 2                   nobody looks at them
//	primary header, with the primary entries    as it should be
//
// Whenever the power goes, the primary header has its entries. Patches of a
// Growth that was not carried out to its end are found and completed.
func Grow(r io.ReaderAt, sectorSize int64, sectors uint64, number int) (*Growth, error) {
	g := &grower{r: r, sectorSize: sectorSize, sectors: sectors}
	if err := g.read(); err != nil {
		return nil, err
	}
	growth, err := g.plan(number)
	if err != nil {
		return nil, fmt.Errorf("grow partition %d: %w", number, err)
	}
	return growth, nil
}

type grower struct {
	r          io.ReaderAt
	sectorSize int64
	sectors    uint64

	header  *header
	sector  []byte // that the header is in
	entries []byte
	table   *Table
}

func (g *grower) read() (err error) {
	if g.header, g.sector, err = readHeader(g.r, g.sectorSize, 1); err != nil {
		return err
	}
	if g.entries, err = readEntries(g.r, g.sectorSize, g.header); err != nil {
		return err
	}
	g.table, err = decodeTable(g.header, g.entries, g.sectorSize, g.sectors)
	return err
}

// entrySectors is how much room each copy of the entries has.
func (g *grower) entrySectors() uint64 {
	size := max(int64(len(g.entries)), minEntryBytes)
	return uint64((size + g.sectorSize - 1) / g.sectorSize)
}

func (g *grower) backupEntries() uint64 { return g.sectors - 1 - g.entrySectors() }

func (g *grower) plan(number int) (*Growth, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	p, err := g.extended(number)
	if err != nil {
		return nil, err
	}
	growth := &Growth{Partition: p}
	if g.header.alternate != g.sectors-1 || g.header.entriesLBA != 2 || g.changed(p) {
		growth.Patches = g.patches(p)
	}
	mbr, err := g.mbr()
	if err != nil {
		return nil, err
	}
	growth.Patches = append(growth.Patches, mbr...)
	return growth, nil
}

func (g *grower) check() error {
	switch {
	case g.sectors < 2*(2+g.entrySectors()) || g.header.alternate >= g.sectors || g.header.lastUsable >= g.sectors:
		return errors.New("the disk is smaller than its table says")
	case g.header.entriesLBA != 2 && g.header.entriesLBA != g.header.alternate-g.entrySectors():
		// A boot loader may be where the entries usually are.
		return fmt.Errorf("its table has an unusual layout (entries at LBA %d)", g.header.entriesLBA)
	}
	return nil
}

func (g *grower) changed(p Partition) bool {
	for _, old := range g.table.Partitions {
		if old.Number == p.Number {
			return old.LastLBA != p.LastLBA
		}
	}
	return false
}

// extended returns the partition as large as it can be. One that cannot grow is
// an error only if there is something to be had.
func (g *grower) extended(number int) (p Partition, err error) {
	var furthest uint64
	for _, q := range g.table.Partitions {
		furthest = max(furthest, q.LastLBA)
		if q.Number == number {
			p = q
		}
	}
	end := g.backupEntries() // of what is usable
	switch {
	case p.Number == 0:
		return p, errors.New("it is not in the table")
	case furthest >= end:
		return p, errors.New("a partition reaches into the disk's last sectors, where the backup of the table belongs")
	case furthest > p.LastLBA && g.header.alternate != g.sectors-1:
		return p, ErrNotLast
	case furthest > p.LastLBA:
		return p, nil
	}
	align := growAlign / uint64(g.sectorSize)
	p.LastLBA = max(p.LastLBA, end/align*align-1)
	return p, nil
}

func (g *grower) patches(p Partition) []Patch {
	entries := bytes.Clone(g.entries)
	at := (p.Number-1)*int(g.header.entrySize) + 40
	binary.LittleEndian.PutUint64(entries[at:], p.LastLBA)
	last, crc := g.sectors-1, crc32.ChecksumIEEE(entries)
	return []Patch{
		{g.backupEntries(), g.padded(entries)},
		{last, g.newHeader(last, 1, g.backupEntries(), crc)},
		{1, g.newHeader(1, last, g.backupEntries(), crc)},
		{2, g.padded(entries)},
		{1, g.newHeader(1, last, 2, crc)},
	}
}

// padded fills the last sector: disks take nothing less.
func (g *grower) padded(entries []byte) []byte {
	size := int(g.sectorSize)
	return append(bytes.Clone(entries), make([]byte, (size-len(entries)%size)%size)...)
}

func (g *grower) newHeader(my, alternate, entriesLBA uint64, entriesCRC uint32) []byte {
	le := binary.LittleEndian
	b := bytes.Clone(g.sector)
	le.PutUint64(b[24:], my)
	le.PutUint64(b[32:], alternate)
	le.PutUint64(b[48:], g.backupEntries()-1)
	le.PutUint64(b[72:], entriesLBA)
	le.PutUint32(b[88:], entriesCRC)
	clear(b[16:20])
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:le.Uint32(b[12:])]))
	return b
}

// mbr corrects the size in a protective MBR that says less than the disk has.
// One that is anything else is its owner's.
func (g *grower) mbr() ([]Patch, error) {
	sector := make([]byte, g.sectorSize)
	if err := readFull(g.r, sector, g.sectorSize, 0); err != nil {
		return nil, fmt.Errorf("read MBR: %w", err)
	}
	le := binary.LittleEndian
	entry, others := sector[446:462], sector[462:510]
	size := uint32(min(g.sectors-1, 0xffffffff))
	pure := sector[510] == 0x55 && sector[511] == 0xaa && entry[4] == 0xee && le.Uint32(entry[8:]) == 1 &&
		bytes.Count(others, []byte{0}) == len(others)
	if !pure || le.Uint32(entry[12:]) >= size {
		return nil, nil
	}
	le.PutUint32(entry[12:], size)
	return []Patch{{0, sector}}, nil
}
