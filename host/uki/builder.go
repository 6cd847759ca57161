package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
)

// Offsets into the PE header, from the byte after its "PE\0\0", and the sizes
// of its parts. The optional header is that of PE32+.
const (
	fileHeaderSize    = 20
	sectionHeaderSize = 40

	offSections      = 2 // number of sections
	offInitialized   = fileHeaderSize + 8
	offSizeOfImage   = fileHeaderSize + 56
	offSizeOfHeaders = fileHeaderSize + 60
	offChecksum      = fileHeaderSize + 64 // 0: not computed, which EFI does not ask for
	offDLLFlags      = fileHeaderSize + 70
)

const (
	codeSection = pe.IMAGE_SCN_CNT_CODE | pe.IMAGE_SCN_MEM_READ
	dataSection = pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ
)

// builder is a PE file that sections are added to.
type builder struct {
	data      []byte
	header    int // offset of the file header
	table     int // offset of the section table
	machine   uint16
	fileAlign uint32
	memAlign  uint32
}

func newBuilder(data []byte) (*builder, error) {
	f, err := pe.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("not an EFI file, which has the format PE: %w", err)
	}
	h, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok {
		return nil, errors.New("not a 64-bit PE file")
	}
	if h.NumberOfRvaAndSizes > pe.IMAGE_DIRECTORY_ENTRY_SECURITY && h.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY].Size != 0 {
		return nil, errors.New("is signed; adding sections would break the signature")
	}
	if h.FileAlignment == 0 || h.SectionAlignment == 0 || len(f.Sections) == 0 {
		return nil, errors.New("has no sections or no alignment")
	}
	b := &builder{
		data:      bytes.Clone(data),
		header:    int(binary.LittleEndian.Uint32(data[0x3c:])) + 4,
		machine:   f.Machine,
		fileAlign: h.FileAlignment,
		memAlign:  h.SectionAlignment,
	}
	b.table = b.header + fileHeaderSize + int(f.SizeOfOptionalHeader)
	b.put32(offChecksum, 0)
	return b, b.checkSections(f)
}

// checkSections makes sure that what is indexed later lies within the file.
func (b *builder) checkSections(f *pe.File) error {
	for _, s := range f.Sections {
		if uint64(s.Offset)+uint64(s.Size) > uint64(len(b.data)) {
			return fmt.Errorf("section %s lies beyond the end", s.Name)
		}
	}
	if int64(b.get32(offSizeOfHeaders)) > int64(len(b.data)) {
		return errors.New("the header lies beyond the end")
	}
	return nil
}

func (b *builder) get32(off int) uint32    { return binary.LittleEndian.Uint32(b.data[b.header+off:]) }
func (b *builder) put32(off int, v uint32) { binary.LittleEndian.PutUint32(b.data[b.header+off:], v) }
func (b *builder) sections() int {
	return int(binary.LittleEndian.Uint16(b.data[b.header+offSections:]))
}

// row returns the i-th entry of the section table: name (8 bytes), virtual
// size, virtual address, size of raw data, pointer to raw data (4 bytes each),
// three fields that images leave zero, and flags.
func (b *builder) row(i int) []byte {
	off := b.table + i*sectionHeaderSize
	return b.data[off : off+sectionHeaderSize]
}

func (b *builder) find(name string) ([]byte, error) {
	for i := range b.sections() {
		row := b.row(i)
		if string(bytes.TrimRight(row[:8], "\x00")) == name {
			return row, nil
		}
	}
	return nil, fmt.Errorf("no section %s", name)
}

// section returns a section's contents without padding.
func (b *builder) section(name string) ([]byte, error) {
	row, err := b.find(name)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	size := min(le.Uint32(row[8:]), le.Uint32(row[16:]))
	start := le.Uint32(row[20:])
	return b.data[start : start+size], nil
}

// replace puts data in the place of a section's contents.
func (b *builder) replace(name string, data []byte) error {
	row, err := b.find(name)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	room, start := le.Uint32(row[16:]), le.Uint32(row[20:])
	if len(data) > int(room) {
		return fmt.Errorf("section %s has room for %d bytes, not for %d", name, room, len(data))
	}
	clear(b.data[start : start+room])
	copy(b.data[start:], data)
	le.PutUint32(row[8:], uint32(len(data)))
	return nil
}

// add appends a section to the file and to the section table. The table can
// grow up to the data of the first section.
func (b *builder) add(name string, data []byte, flags uint32) error {
	n := b.sections()
	if b.table+(n+1)*sectionHeaderSize > int(b.get32(offSizeOfHeaders)) {
		return fmt.Errorf("add section %s: the EFI stub's header has no room for it", name)
	}
	le := binary.LittleEndian
	last := b.row(n - 1)
	address := align(le.Uint32(last[12:])+le.Uint32(last[8:]), b.memAlign)
	if uint64(address)+uint64(len(data)) >= 1<<31 {
		return fmt.Errorf("add section %s: the image would be larger than 2 GiB", name)
	}
	b.pad()
	row := b.row(n)
	copy(row, name)
	le.PutUint32(row[8:], uint32(len(data)))
	le.PutUint32(row[12:], address)
	le.PutUint32(row[16:], align(uint32(len(data)), b.fileAlign))
	le.PutUint32(row[20:], uint32(len(b.data)))
	le.PutUint32(row[36:], flags)
	b.data = append(b.data, data...)
	b.pad()

	le.PutUint16(b.data[b.header+offSections:], uint16(n+1))
	b.put32(offInitialized, b.get32(offInitialized)+uint32(len(data)))
	b.put32(offSizeOfImage, align(address+uint32(len(data)), b.memAlign))
	return nil
}

// pad fills the file up to the next multiple of the file alignment.
func (b *builder) pad() {
	n := align(uint32(len(b.data)), b.fileAlign) - uint32(len(b.data))
	b.data = append(b.data, make([]byte, n)...)
}

func (b *builder) clearNX() {
	flags := b.data[b.header+offDLLFlags:]
	le := binary.LittleEndian
	le.PutUint16(flags, le.Uint16(flags)&^pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT)
}

func align(n, to uint32) uint32 { return (n + to - 1) / to * to }
