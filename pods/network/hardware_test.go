package network

import (
	"os"
	"path/filepath"
	"testing"

	"kios/test/lab"
)

// place makes a device with its bus in a sysfs, and an interface that leads to it.
func place(t *testing.T, sysfs, device, bus, name string) {
	t.Helper()
	dir := filepath.Join(sysfs, "devices", device)
	lab.Must(t, os.MkdirAll(dir, 0o755))
	lab.Must(t, os.MkdirAll(filepath.Join(sysfs, "bus", bus, "devices", filepath.Base(dir)), 0o755))
	lab.Must(t, os.Symlink(filepath.Join(sysfs, "bus", bus), filepath.Join(dir, "subsystem")))
	if name != "" {
		lab.Must(t, os.MkdirAll(filepath.Join(sysfs, "class/net", name), 0o755))
		lab.Must(t, os.Symlink(dir, filepath.Join(sysfs, "class/net", name, "device")))
	}
}

func TestHardware(t *testing.T) {
	sysfs, file := t.TempDir(), filepath.Join(t.TempDir(), "devices")
	place(t, sysfs, "pci0000:00/0000:00:03.0", "pci", "eth0")
	place(t, sysfs, "pci0000:00/0000:00:14.0", "pci", "") // the controller of USB
	place(t, sysfs, "pci0000:00/0000:00:1c.0", "pci", "") // a port into which cards are plugged
	h, err := openHardware(sysfs, file)
	lab.Must(t, err)
	place(t, sysfs, "pci0000:00/0000:00:1c.0/0000:03:00.0", "pci", "eni1")
	place(t, sysfs, "pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0", "usb", "usb0")
	place(t, sysfs, "platform/soc/ethernet", "platform", "soc0")
	place(t, sysfs, "vmbus/guid", "vmbus", "hv1")
	for range 2 {
		for name, want := range map[string]struct {
			late    bool
			address string
		}{
			"eth0": {false, "0000:00:03.0"}, "eni1": {true, "0000:03:00.0"}, "usb0": {false, "0000:00:14.0"},
			"soc0": {false, "ethernet"}, "hv1": {true, "guid"}, "veth0": {false, ""},
		} {
			if _, address := h.device(name); h.isLate(name) != want.late || address != want.address {
				t.Errorf("%s: late %v, device %s, want %v", name, h.isLate(name), address, want)
			}
			if h.isPhysical(name) != (name != "veth0") {
				t.Errorf("%s: physical %v", name, h.isPhysical(name))
			}
		}
		// A restart knows what the first start in this boot saw.
		h, err = openHardware(sysfs, file)
		lab.Must(t, err)
	}
}

// Without that knowledge nothing is left alone.
func TestHardwareUnknown(t *testing.T) {
	sysfs := t.TempDir()
	place(t, sysfs, "pci0000:00/0000:00:03.0", "pci", "eth0")
	h, err := openHardware(sysfs, filepath.Join(sysfs, "bus/pci")) // a directory
	if err == nil || h.isLate("eth0") || !h.isPhysical("eth0") {
		t.Errorf("%v, late %v, physical %v", err, h.isLate("eth0"), h.isPhysical("eth0"))
	}
}
