package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	vendor       = "3a3ae00f-cf4d-4977-8766-8ea575f6bf4f" // of the first kiOS
	globalVendor = "8be4df61-93ca-11d2-aa0d-00e098032b8c" // of the UEFI specification

	attributes   = 4 // bytes before the value
	maxVariable  = 64 << 10
	maxVariables = 256
)

// Variables returns the firmware's variables of kiOS: its own of the first kiOS's vendor
// GUID, by name. There are none on a machine without UEFI.
func (v View) Variables() (map[string][]byte, error) {
	entries, err := os.ReadDir(v.EFIVars)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the firmware's variables: %w", err)
	}
	found := map[string][]byte{}
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), "-"+vendor)
		if !ours || len(found) == maxVariables {
			continue
		}
		if found[name], err = v.variable(e.Name()); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (v View) variable(file string) ([]byte, error) {
	text, err := readFile(filepath.Join(v.EFIVars, file), maxVariable)
	if err != nil {
		return nil, fmt.Errorf("read a variable of the firmware: %w", err)
	}
	return text[min(attributes, len(text)):], nil
}

// SecureBoot reports whether the firmware starts only what is signed. Then what is not
// signed must not decide what the machine does either.
func (v View) SecureBoot() bool {
	value, err := v.variable("SecureBoot-" + globalVendor)
	return err == nil && len(value) == 1 && value[0] == 1
}
