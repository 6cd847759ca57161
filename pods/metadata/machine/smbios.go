package machine

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"iter"
	"path/filepath"
)

const (
	// An entry point of version 2 allows 64 KiB of tables. One of version 3 allows more.
	maxTables = 2 << 20

	structHeader = 4 // type, length, handle
	typeOEM      = 11
	typeEnd      = 127
)

// Credential returns a credential that the hypervisor passes in a string of SMBIOS of
// type 11, as systemd takes it: "io.systemd.credential:NAME=TEXT", or
// "io.systemd.credential.binary:NAME=BASE64". It is nil if there is none.
func (v View) Credential(name string) ([]byte, error) {
	tables, err := readIfThere(filepath.Join(v.Sys, "firmware/dmi/tables/DMI"), maxTables)
	if err != nil {
		return nil, fmt.Errorf("read the tables of SMBIOS: %w", err)
	}
	return credential(tables, name)
}

func credential(tables []byte, name string) ([]byte, error) {
	for s := range oemStrings(tables) {
		if text, ok := bytes.CutPrefix(s, []byte("io.systemd.credential:"+name+"=")); ok {
			return bytes.Clone(text), nil
		}
		if text, ok := bytes.CutPrefix(s, []byte("io.systemd.credential.binary:"+name+"=")); ok {
			return decode(text, name)
		}
	}
	return nil, nil
}

func decode(text []byte, name string) ([]byte, error) {
	value, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return nil, fmt.Errorf("the string io.systemd.credential.binary:%s of SMBIOS is no base64 (%w): correct it where the machine is defined", name, err)
	}
	return value, nil
}

// oemStrings yields the strings of all structures of type 11. A structure is a formatted
// part of the length that it names, and strings that each end with a zero byte, with one
// more behind the last (SMBIOS specification, 6.1). What is cut off is left out.
func oemStrings(tables []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(tables) >= structHeader {
			kind, length := tables[0], int(tables[1])
			if kind == typeEnd || length < structHeader || length > len(tables) {
				return
			}
			strings, rest, whole := bytes.Cut(tables[length:], []byte{0, 0})
			if !whole {
				return
			}
			if kind == typeOEM && !each(strings, yield) {
				return
			}
			tables = rest
		}
	}
}

func each(strings []byte, yield func([]byte) bool) bool {
	for s := range bytes.SplitSeq(strings, []byte{0}) {
		if !yield(s) {
			return false
		}
	}
	return true
}
