package gpt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unicode/utf16"
)

// entrySectors is how many sectors the array of entries takes.
func (t *Table) entrySectors() uint64 {
	return uint64((entryCount*entrySize + t.SectorSize - 1) / t.SectorSize)
}

// FirstUsable returns the first sector that a partition may have.
func (t *Table) FirstUsable() uint64 { return 2 + t.entrySectors() }

// LastUsable returns the last sector that a partition may have.
func (t *Table) LastUsable() uint64 { return t.Sectors - 2 - t.entrySectors() }

// Patch is something to be written to a disk at once.
type Patch struct {
	LBA  uint64
	Data []byte
}

// Apply writes patches one after another. Where the order matters, sync has to
// see to it that each is on the disk before the next is written; it may be nil.
func Apply(w io.WriterAt, sectorSize int64, patches []Patch, sync func() error) error {
	for _, p := range patches {
		if _, err := w.WriteAt(p.Data, int64(p.LBA)*sectorSize); err != nil {
			return fmt.Errorf("write GPT at LBA %d: %w", p.LBA, err)
		}
		if sync == nil {
			continue
		}
		if err := sync(); err != nil {
			return fmt.Errorf("write GPT at LBA %d: %w", p.LBA, err)
		}
	}
	return nil
}

// Write writes a protective MBR and both copies of the table, and nothing in
// between. The disk's size is taken from t.Sectors.
func Write(w io.WriterAt, t *Table) error {
	patches, err := t.Patches()
	if err != nil {
		return err
	}
	return Apply(w, t.SectorSize, patches, nil)
}

// Patches returns what Write writes. The MBR comes last: Linux looks for no
// table before that is there, so that it sees all of the table or nothing.
func (t *Table) Patches() ([]Patch, error) {
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("write GPT: %w", err)
	}
	entries, err := t.encodeEntries()
	if err != nil {
		return nil, fmt.Errorf("write GPT: %w", err)
	}
	last := t.Sectors - 1
	crc := crc32.ChecksumIEEE(entries)
	return []Patch{
		{last - t.entrySectors(), entries},
		{last, t.encodeHeader(last, 1, last-t.entrySectors(), crc)},
		{2, entries},
		{1, t.encodeHeader(1, last, 2, crc)},
		{0, t.protectiveMBR()},
	}, nil
}

func (t *Table) check() error {
	if t.SectorSize != 512 && t.SectorSize != 4096 {
		return fmt.Errorf("sector size %d is neither 512 nor 4096", t.SectorSize)
	}
	if t.Sectors <= 2*t.FirstUsable() {
		return fmt.Errorf("a disk of %d sectors has no room for a table", t.Sectors)
	}
	for i, p := range t.Partitions {
		if err := t.checkPartition(p); err != nil {
			return fmt.Errorf("partition %d: %w", p.Number, err)
		}
		for _, q := range t.Partitions[:i] {
			if p.Number == q.Number {
				return fmt.Errorf("partition %d: there are two of them", p.Number)
			}
			if p.FirstLBA <= q.LastLBA && q.FirstLBA <= p.LastLBA {
				return fmt.Errorf("partition %d overlaps partition %d", p.Number, q.Number)
			}
		}
	}
	return nil
}

func (t *Table) checkPartition(p Partition) error {
	switch {
	case p.Number < 1 || p.Number > entryCount:
		return fmt.Errorf("number is not from 1 to %d", entryCount)
	case p.Type == GUID{}:
		return errors.New("has no type")
	case p.FirstLBA > p.LastLBA:
		return errors.New("ends before it begins")
	case p.FirstLBA < t.FirstUsable() || p.LastLBA > t.LastUsable():
		return fmt.Errorf("sectors %d to %d are not within %d to %d", p.FirstLBA, p.LastLBA, t.FirstUsable(), t.LastUsable())
	}
	return nil
}

func (t *Table) encodeEntries() ([]byte, error) {
	le := binary.LittleEndian
	out := make([]byte, entryCount*entrySize)
	for _, p := range t.Partitions {
		b := out[(p.Number-1)*entrySize:]
		copy(b[0:], p.Type[:])
		copy(b[16:], p.GUID[:])
		le.PutUint64(b[32:], p.FirstLBA)
		le.PutUint64(b[40:], p.LastLBA)
		le.PutUint64(b[48:], p.Attributes)
		name := utf16.Encode([]rune(p.Name))
		if len(name) > nameUnits {
			return nil, fmt.Errorf("partition %d: name %q is longer than %d characters", p.Number, p.Name, nameUnits)
		}
		for i, u := range name {
			le.PutUint16(b[56+2*i:], u)
		}
	}
	return out, nil
}

func (t *Table) encodeHeader(my, alternate, entriesLBA uint64, entriesCRC uint32) []byte {
	le := binary.LittleEndian
	b := make([]byte, t.SectorSize)
	copy(b, signature)
	le.PutUint32(b[8:], revision)
	le.PutUint32(b[12:], headerSize)
	le.PutUint64(b[24:], my)
	le.PutUint64(b[32:], alternate)
	le.PutUint64(b[40:], t.FirstUsable())
	le.PutUint64(b[48:], t.LastUsable())
	copy(b[56:], t.DiskGUID[:])
	le.PutUint64(b[72:], entriesLBA)
	le.PutUint32(b[80:], entryCount)
	le.PutUint32(b[84:], entrySize)
	le.PutUint32(b[88:], entriesCRC)
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:headerSize]))
	return b
}

// protectiveMBR covers the disk with one partition of type 0xee, so that tools
// which know only the MBR leave it alone (UEFI 2.10, 5.2.3).
func (t *Table) protectiveMBR() []byte {
	b := make([]byte, 512)
	entry := b[446:]
	copy(entry[1:], []byte{0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff})
	binary.LittleEndian.PutUint32(entry[8:], 1)
	binary.LittleEndian.PutUint32(entry[12:], uint32(min(t.Sectors-1, 0xffffffff)))
	b[510], b[511] = 0x55, 0xaa
	return b
}
