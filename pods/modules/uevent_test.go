package modules

import (
	"strings"
	"testing"

	"kios/internal/uevent"
)

func TestDeviceOf(t *testing.T) {
	fields := []string{
		"ACTION=add", "DEVPATH=/devices/pci0000:00/0000:00:04.0", "SUBSYSTEM=pci",
		"PCI_CLASS=20000", "MODALIAS=" + card, "SEQNUM=1234",
	}
	tests := []struct {
		head   string
		fields []string
		want   device
		ok     bool
	}{
		{"add@/devices/pci0000:00/0000:00:04.0", fields, device{"pci device 0000:00:04.0", card}, true},
		{"remove@/devices/pci0000:00/0000:00:04.0", fields, device{}, false},
		{"add@/devices/virtual/net/veth0", []string{"ACTION=add", "DEVPATH=/devices/virtual/net/veth0", "SUBSYSTEM=net"}, device{}, false},
		{"libudev", fields, device{}, false},
		{"", nil, device{}, false},
	}
	for _, tt := range tests {
		message := strings.Join(append([]string{tt.head}, tt.fields...), "\x00") + "\x00"
		got, ok := deviceOf(uevent.Parse([]byte(message)))
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("device of %q = %+v, %v", message, got, ok)
		}
	}
}

func FuzzDeviceOf(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00SUBSYSTEM=usb\x00DEVPATH=/devices/x\x00MODALIAS=usb:v1\x00"))
	f.Add([]byte("add@\x00=\x00MODALIAS=\x00"))
	f.Fuzz(func(t *testing.T, message []byte) {
		if d, ok := deviceOf(uevent.Parse(message)); ok && (d.alias == "" || strings.Contains(d.alias, "\x00")) {
			t.Errorf("device of %q = %+v", message, d)
		}
	})
}
