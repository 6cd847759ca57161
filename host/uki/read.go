package uki

import (
	"crypto/sha256"
	"debug/pe"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"syscall"
)

// Section is one section of a PE file.
type Section struct {
	Name    string
	Offset  int64  // in the file
	Size    int64  // bytes that count
	Stored  int64  // bytes in the file: Size and padding
	Address uint32 // in memory, relative to where the image is loaded
	SHA256  string // of the Size bytes that count, hexadecimal
}

// Image is an EFI file that was read. Headers, sections with their padding
// and Trailer make up the whole of its Size.
type Image struct {
	Size     int64
	Machine  uint16    // the type of processor that it is for; see arch.OfMachine
	Headers  int64     // bytes of headers, and of gaps between sections
	Trailer  int64     // bytes behind the last section: a signature, usually
	Sections []Section // in the order of the file

	r io.ReaderAt
}

// Read opens the EFI file at path and hashes its sections. The caller closes
// the file.
func Read(path string) (*Image, *os.File, error) {
	// A named pipe is not waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("read EFI file: %w", err)
	}
	image, err := read(f)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("read EFI file %s: %w", path, err)
	}
	return image, f, nil
}

func read(f *os.File) (*Image, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return Parse(f, info.Size())
}

// Parse reads an EFI file of the given size.
func Parse(r io.ReaderAt, size int64) (*Image, error) {
	f, err := pe.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, fmt.Errorf("not an EFI file, which has the format PE: %w", err)
	}
	image := &Image{Size: size, Machine: f.Machine, r: r}
	for _, s := range f.Sections {
		section := Section{
			Name:    s.Name,
			Offset:  int64(s.Offset),
			Size:    int64(min(s.VirtualSize, s.SectionHeader.Size)),
			Stored:  int64(s.SectionHeader.Size),
			Address: s.VirtualAddress,
		}
		if section.Offset+section.Stored > size {
			return nil, fmt.Errorf("section %s ends at byte %d, the file at byte %d: it is truncated",
				s.Name, section.Offset+section.Stored, size)
		}
		image.Sections = append(image.Sections, section)
	}
	sort.SliceStable(image.Sections, func(i, j int) bool { return image.Sections[i].Offset < image.Sections[j].Offset })
	if err := image.account(); err != nil {
		return nil, err
	}
	return image, image.hash()
}

// account works out which bytes belong to no section.
func (m *Image) account() error {
	var end int64
	for _, s := range m.Sections {
		if s.Stored == 0 { // .bss and the like have an address only
			continue
		}
		if s.Offset < end {
			return fmt.Errorf("section %s overlaps the one before it", s.Name)
		}
		m.Headers += s.Offset - end
		end = s.Offset + s.Stored
	}
	m.Trailer = m.Size - end
	return nil
}

func (m *Image) hash() error {
	for i, s := range m.Sections {
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(m.r, s.Offset, s.Size)); err != nil {
			return fmt.Errorf("read section %s: %w", s.Name, err)
		}
		m.Sections[i].SHA256 = hex.EncodeToString(h.Sum(nil))
	}
	return nil
}

// Open returns the contents of the section name.
func (m *Image) Open(name string) (*io.SectionReader, error) {
	for _, s := range m.Sections {
		if s.Name == name {
			return io.NewSectionReader(m.r, s.Offset, s.Size), nil
		}
	}
	return nil, fmt.Errorf("no section %s: not a unified kernel image", name)
}
