package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kios/internal/userfile"
)

// hardware is what sysfs says about the device of an interface, and what the machine
// had when it booted.
type hardware struct {
	sysfs   string
	present map[string]bool // "BUS/ADDRESS"; nil if it is not known
}

// enumerated are the buses whose devices the kernel finds when the machine boots,
// long before their drivers are loaded. What appears there later was plugged in, by a
// cloud or by a person. USB is not among them: whoever plugs in a USB adapter wants
// it to be used.
var enumerated = []string{"pci", "vmbus", "xen"}

// openHardware reads which devices the machine had, or notes it in file when it is
// called first in a boot.
func openHardware(sysfs, file string) (hardware, error) {
	h := hardware{sysfs: sysfs}
	text, err := userfile.Read(file, userfile.Max)
	if errors.Is(err, fs.ErrNotExist) {
		text = h.devices()
		err = replace(file, text)
	}
	if err != nil {
		return h, fmt.Errorf("which devices were plugged in later is not known: %w", err)
	}
	h.present = map[string]bool{}
	for line := range strings.Lines(string(text)) {
		h.present[strings.TrimSuffix(line, "\n")] = true
	}
	return h, nil
}

// devices lists the devices that the machine has, one a line.
func (h hardware) devices() []byte {
	var text []byte
	for _, bus := range enumerated {
		entries, _ := os.ReadDir(filepath.Join(h.sysfs, "bus", bus, "devices")) // most machines have one of these
		for _, e := range entries {
			text = append(text, bus+"/"+e.Name()+"\n"...)
		}
	}
	return text
}

func (h hardware) path(name, entry string) string {
	return filepath.Join(h.sysfs, "class/net", name, entry)
}

// isPhysical reports whether the interface is one of a device. Paravirtual ones are;
// veth, bridge, bond, VLAN, tun and dummy are not.
func (h hardware) isPhysical(name string) bool { return isThere(h.path(name, "device")) }

// isVirtualFunction reports whether the interface is an SR-IOV function of a card of
// this machine. In a virtual machine that was given one, it is a card like any other.
func (h hardware) isVirtualFunction(name string) bool { return isThere(h.path(name, "device/physfn")) }

// isLate reports whether the device of the interface was plugged in after the boot. A
// device whose driver came late was not.
func (h hardware) isLate(name string) bool {
	bus, address := h.device(name)
	return h.present != nil && bus != "" && !h.present[bus+"/"+address]
}

// device returns the bus and the address of the interface's device: the nearest one
// above the interface that is on a bus which the kernel enumerates, because virtio's
// and USB's own come with a driver. Without one, bus is "", and the address is the
// name of the device itself.
func (h hardware) device(name string) (bus, address string) {
	device, err := filepath.EvalSymlinks(h.path(name, "device"))
	if err != nil {
		return "", ""
	}
	for dir := device; strings.HasPrefix(dir, h.sysfs) && dir != h.sysfs; dir = filepath.Dir(dir) {
		bus := linkName(filepath.Join(dir, "subsystem"))
		for _, b := range enumerated {
			if bus == b {
				return bus, filepath.Base(dir)
			}
		}
	}
	return "", filepath.Base(device)
}

func (h hardware) driver(name string) string { return linkName(h.path(name, "device/driver")) }

// linkName returns the name of what a link leads to, or "".
func linkName(path string) string {
	target, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
