package modules

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseUevent(t *testing.T) {
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
		got, ok := parseUevent([]byte(message))
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("parseUevent(%q) = %+v, %v", message, got, ok)
		}
	}
}

func TestFromKernel(t *testing.T) {
	if !fromKernel(&unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}) {
		t.Error("the kernel's own messages are refused")
	}
	for _, from := range []unix.Sockaddr{nil, &unix.SockaddrNetlink{Pid: 77, Groups: 1}, &unix.SockaddrUnix{}} {
		if fromKernel(from) {
			t.Errorf("a message of %+v is taken for the kernel's", from)
		}
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add([]byte("add@/devices/x\x00SUBSYSTEM=usb\x00DEVPATH=/devices/x\x00MODALIAS=usb:v1\x00"))
	f.Add([]byte("add@\x00=\x00MODALIAS=\x00"))
	f.Fuzz(func(t *testing.T, message []byte) {
		if d, ok := parseUevent(message); ok && (d.alias == "" || strings.Contains(d.alias, "\x00")) {
			t.Errorf("parseUevent(%q) = %+v", message, d)
		}
	})
}

func FuzzMentions(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00modules.yaml\x00\x00\x00\x00"), "modules.yaml")
	f.Fuzz(func(t *testing.T, events []byte, name string) { mentions(events, name) })
}
