package datapart

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// BootPath is where the device hangs that firmware booted from, as far as it says: by
// the slots on the way from the root of PCI. GUIDs of partitions can be copied onto
// another disk, and whoever attaches a copy of the boot disk does that; a disk's slot is
// not up to what is written on it. The zero value is an unknown path.
type BootPath struct {
	slots []string // device and function of each PCI device: "1f.2"
	unit  string   // of a disk behind a controller: "nsid 1", "scsi 0:1"
}

// The variables that say what firmware has booted, see UEFI 2.10, 3.1 and 3.3.
const globalVariable = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

// ReadBootPath asks the firmware.
func ReadBootPath(efivars string) (BootPath, error) {
	current, err := os.ReadFile(filepath.Join(efivars, "BootCurrent-"+globalVariable))
	if errors.Is(err, fs.ErrNotExist) {
		return BootPath{}, nil
	}
	if err != nil {
		return BootPath{}, err
	}
	if len(current) != 6 {
		return BootPath{}, fmt.Errorf("the variable BootCurrent has %d bytes, not 6", len(current))
	}
	name := fmt.Sprintf("Boot%04X", binary.LittleEndian.Uint16(current[4:]))
	option, err := os.ReadFile(filepath.Join(efivars, name+"-"+globalVariable))
	if err != nil {
		return BootPath{}, err
	}
	path, err := parseOption(option)
	if err != nil {
		return BootPath{}, fmt.Errorf("read the variable %s: %w", name, err)
	}
	return path, nil
}

var errShort = errors.New("it is too short")

// parseOption reads an EFI_LOAD_OPTION behind the four bytes of efivarfs: attributes,
// the length of the device path, a description in UTF-16, the path.
func parseOption(b []byte) (BootPath, error) {
	if len(b) < 10 {
		return BootPath{}, errShort
	}
	length := int(binary.LittleEndian.Uint16(b[8:]))
	b = b[10:]
	for {
		if len(b) < 2 {
			return BootPath{}, errShort
		}
		end := b[0] == 0 && b[1] == 0
		b = b[2:]
		if end {
			break
		}
	}
	if length > len(b) {
		return BootPath{}, errShort
	}
	return parsePath(b[:length])
}

// Nodes of a device path, see UEFI 2.10, 10.3.
const (
	nodeHeader = 4      // bytes, which every node begins with
	nodePCI    = 0x0101 // type and subtype
	nodeSCSI   = 0x0302
	nodeMAC    = 0x030b // of a network card, behind its PCI node
	nodeNVMe   = 0x0317
	nodeEnd    = 0x7f // type alone
)

// parsePath takes from a device path what BootPath has. Other nodes are left out. What came
// over a network is on no disk, so its path is unknown.
func parsePath(b []byte) (path BootPath, err error) {
	for len(b) >= nodeHeader {
		length := int(binary.LittleEndian.Uint16(b[2:]))
		if length < nodeHeader || length > len(b) {
			return BootPath{}, errShort
		}
		kind := int(b[0])<<8 | int(b[1])
		if b[0] == nodeEnd {
			break
		}
		if kind == nodeMAC {
			return BootPath{}, nil
		}
		path.add(kind, b[nodeHeader:length])
		b = b[length:]
	}
	return path, nil
}

func (p *BootPath) add(kind int, data []byte) {
	le := binary.LittleEndian
	switch {
	case kind == nodePCI && len(data) >= 2:
		p.slots = append(p.slots, fmt.Sprintf("%02x.%d", data[1], data[0]))
	case kind == nodeSCSI && len(data) >= 4:
		p.unit = fmt.Sprintf("scsi %d:%d", le.Uint16(data), le.Uint16(data[2:]))
	case kind == nodeNVMe && len(data) >= 4:
		p.unit = fmt.Sprintf("nsid %d", le.Uint32(data))
	}
}

// slotOf returns device and function of a PCI device, from its address in sysfs:
// "1f.2" of "0000:00:1f.2".
func slotOf(component string) (slot string, found bool) {
	fields := strings.Split(component, ":")
	if len(fields) != 3 || len(fields[0]) < 4 || len(fields[1]) != 2 || len(fields[2]) != 4 || fields[2][2] != '.' {
		return "", false
	}
	return fields[2], true
}

// unitOf returns target and unit of a SCSI device, from its address in sysfs: "0:0:1:4",
// after host and channel.
func unitOf(component string) (unit string, found bool) {
	fields := strings.Split(component, ":")
	if len(fields) != 4 {
		return "", false
	}
	for _, field := range fields {
		if _, err := strconv.ParseUint(field, 10, 64); err != nil {
			return "", false
		}
	}
	return "scsi " + fields[2] + ":" + fields[3], true
}

// known reports whether the path tells disks apart.
func (p BootPath) known() bool { return len(p.slots) > 0 }

// fit is how well a disk fits to where the firmware booted from.
type fit int

const (
	contradicts fit = iota
	possible        // nobody knows
	confirmed
)

// fits compares where a disk hangs with the path. A disk behind a device that the path
// names is possible: firmware may not see what is behind that, such as the bus of a VMD.
func (s System) fits(p BootPath, disk string) fit {
	slots, unit, sure := s.location(disk)
	switch {
	case !p.known() || len(slots) == 0:
		return possible
	case !slices.Equal(slots, p.slots):
		if len(slots) > len(p.slots) && slices.Equal(slots[:len(p.slots)], p.slots) {
			return possible
		}
		return contradicts
	case p.unit == "" || p.unit == unit:
		return confirmed
	case sure:
		return contradicts
	}
	return possible
}

// location returns where a disk hangs, in the words of a BootPath, and whether firmware
// numbers the units of its controller as the kernel does. Those of a RAID may differ.
func (s System) location(disk string) (slots []string, unit string, sure bool) {
	path := s.devicePath(disk)
	for _, component := range path {
		if slot, found := slotOf(component); found {
			slots = append(slots, slot)
		}
		if found, ok := unitOf(component); ok {
			unit = found
		}
	}
	if nsid := s.text("block", disk, "nsid"); nsid != "" {
		return slots, "nsid " + nsid, true
	}
	return slots, unit, has(path, "virtio")
}

// fitting returns the disks that fit a path in one way.
func (s System) fitting(p BootPath, want fit, disks []string) []string {
	return slices.DeleteFunc(slices.Clone(disks), func(disk string) bool { return s.fits(p, disk) != want })
}

// bootDeviceRead reports whether what firmware booted from is there, and could be read if
// it is a disk. It may also be a CD-ROM.
func (s System) bootDeviceRead(p BootPath, all survey) bool {
	var there []string
	for _, dir := range s.glob("block/*") {
		there = append(there, filepath.Base(dir))
	}
	return slices.ContainsFunc(s.fitting(p, confirmed, there), func(disk string) bool {
		return !slices.ContainsFunc(all.problems, func(problem Problem) bool { return problem.Disk == disk })
	})
}
