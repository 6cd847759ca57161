// Package smbios reads the tables in which a machine's firmware, or its hypervisor,
// describes it: the SMBIOS specification, DSP0134 of DMTF, section 6.1.
package smbios

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
)

const (
	// An entry point of version 2 allows 64 KiB of tables. One of version 3 allows more.
	maxTables = 2 << 20

	header  = 4 // type, length, handle
	typeEnd = 127
)

// Structure is one of the tables.
type Structure struct {
	// Type says what the structure describes: section 7 of the specification.
	Type byte
	// Fields begins with the type, so that offsets are those of the specification.
	Fields []byte
	// strings are those that the fields count, each with a zero byte behind it but the last.
	strings []byte
}

// Strings yields the strings of a structure, in the order in which its fields count them.
func (s Structure) Strings() iter.Seq[[]byte] { return bytes.SplitSeq(s.strings, []byte{0}) }

// Read returns the tables of this machine, or nothing if it has none. sys is "/sys". Only
// user 0 may read them.
func Read(sys string) ([]byte, error) {
	f, err := os.Open(filepath.Join(sys, "firmware/dmi/tables/DMI"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	tables, err := io.ReadAll(io.LimitReader(f, maxTables+1))
	if err == nil && len(tables) > maxTables {
		err = errors.New("they are larger than 2 MiB")
	}
	return tables, err
}

// Structures yields the structures of tables. One is a formatted part of the length that
// it names, and strings that each end with a zero byte, with one more behind the last.
// What is cut off is left out.
func Structures(tables []byte) iter.Seq[Structure] {
	return func(yield func(Structure) bool) {
		for len(tables) >= header {
			kind, length := tables[0], int(tables[1])
			if kind == typeEnd || length < header || length > len(tables) {
				return
			}
			strings, rest, whole := bytes.Cut(tables[length:], []byte{0, 0})
			if !whole || !yield(Structure{kind, tables[:length], strings}) {
				return
			}
			tables = rest
		}
	}
}
