package machine

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"iter"

	"kios/internal/smbios"
)

const typeOEM = 11 // strings of the manufacturer

// Credential returns a credential that the hypervisor passes in a string of SMBIOS of
// type 11, as systemd takes it: "io.systemd.credential:NAME=TEXT", or
// "io.systemd.credential.binary:NAME=BASE64". It is nil if there is none.
func (v View) Credential(name string) ([]byte, error) {
	tables, err := smbios.Read(v.Sys)
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

// oemStrings yields the strings of all structures of type 11.
func oemStrings(tables []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for s := range smbios.Structures(tables) {
			if s.Type == typeOEM && !each(s.Strings(), yield) {
				return
			}
		}
	}
}

func each(strings iter.Seq[[]byte], yield func([]byte) bool) bool {
	for s := range strings {
		if !yield(s) {
			return false
		}
	}
	return true
}
