package datapart

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"kios/internal/gpt"
)

// EFIVars is where the kernel shows the firmware's variables.
const EFIVars = "/sys/firmware/efi/efivars"

// bootVariable is set by systemd-boot and by the stub of a unified kernel image: the
// GUID of the partition that they were loaded from. It is not set after a boot from the
// network, and does not outlast a boot. See https://systemd.io/BOOT_LOADER_INTERFACE.
const bootVariable = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// BootPartition returns the GUID of the partition that the machine booted from, or
// zero if neither firmware nor boot loader tells.
func BootPartition(efivars string) (gpt.GUID, error) {
	data, err := os.ReadFile(filepath.Join(efivars, bootVariable))
	if errors.Is(err, fs.ErrNotExist) {
		return gpt.GUID{}, nil
	}
	if err != nil {
		return gpt.GUID{}, err
	}
	guid, err := parseVariable(data)
	if err != nil {
		return gpt.GUID{}, fmt.Errorf("read the variable LoaderDevicePartUUID: %w", err)
	}
	return guid, nil
}

// parseVariable reads what efivarfs has: four bytes of attributes, then the text in
// UTF-16, which ends with a zero.
func parseVariable(data []byte) (gpt.GUID, error) {
	if len(data) < 4 || len(data) > 1024 {
		return gpt.GUID{}, fmt.Errorf("it has %d bytes", len(data))
	}
	var units []uint16
	for b := data[4:]; len(b) >= 2; b = b[2:] {
		units = append(units, binary.LittleEndian.Uint16(b))
	}
	text, _, _ := strings.Cut(string(utf16.Decode(units)), "\x00")
	return gpt.ParseGUID(text)
}
