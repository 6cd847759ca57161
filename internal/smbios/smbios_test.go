package smbios

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"kios/test/lab"
)

func TestStructures(t *testing.T) {
	for name, c := range map[string]struct {
		tables string
		want   []string // type, length, strings
	}{
		"two":            {"\x00\x05\x00\x00\x01a\x00bc\x00\x00" + "\x0b\x04\x00\x00\x00\x00", []string{`0 5 ["a" "bc"]`, `11 4 [""]`}},
		"behind the end": {"\x7f\x04\x00\x00\x00\x00" + "\x00\x04\x00\x00\x00\x00", nil},
		"no header":      {"\x00\x04\x00", nil},
		"no fields":      {"\x00\x03\x00\x00\x00", nil},
		"too long":       {"\x00\x20\x00\x00\x00\x00", nil},
		"cut":            {"\x00\x04\x00\x00\x00\x00" + "\x01\x04\x00\x00a\x00", []string{`0 4 [""]`}},
		"nothing":        {"", nil},
	} {
		var got []string
		for s := range Structures([]byte(c.tables)) {
			got = append(got, fmt.Sprintf("%d %d %q", s.Type, len(s.Fields), slices.Collect(s.Strings())))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: Structures = %q, want %q", name, got, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	sys := t.TempDir()
	if got, err := Read(sys); len(got) > 0 || err != nil {
		t.Errorf("Read = %q, %v of a machine without tables", got, err)
	}
	path := filepath.Join(sys, "firmware/dmi/tables/DMI")
	lab.WriteFile(t, path, "tables")
	if got, err := Read(sys); string(got) != "tables" || err != nil {
		t.Errorf("Read = %q, %v", got, err)
	}
	lab.Must(t, os.Truncate(path, maxTables+1))
	if _, err := Read(sys); err == nil {
		t.Error("Read takes tables without end")
	}
}

func FuzzStructures(f *testing.F) {
	f.Add([]byte("\x00\x05\x00\x00\x01a\x00bc\x00\x00" + "\x0b\x04\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x04\x00\x00\x00\x00" + "\x7f\x04\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, tables []byte) {
		size := 0
		for s := range Structures(tables) {
			size += len(s.Fields)
			for text := range s.Strings() {
				size += len(text)
			}
		}
		if size > len(tables) {
			t.Errorf("%d bytes have structures of %d", len(tables), size)
		}
	})
}
