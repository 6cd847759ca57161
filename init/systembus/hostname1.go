package systembus

import (
	"encoding/hex"
	"os"
	"strings"

	"kios/init/dbuswire"
	"kios/internal/userfile"

	"golang.org/x/sys/unix"
)

const hostnameName = "org.freedesktop.hostname1"

func (s *Server) hostnameObjects() []object {
	set := func(f func(name, cause string) error) func(*client, []any) ([]any, error) {
		return func(c *client, args []any) ([]any, error) { return nil, f(args[0].(string), c.String()) }
	}
	refused := func(*client, []any) ([]any, error) {
		return nil, fault(notSupported, "a node has a hostname and nothing else of this kind")
	}
	host := iface{
		name: hostnameName,
		methods: []method{
			{"SetHostname", "sb", "", true, set(s.host.SetHostname)},
			{"SetStaticHostname", "sb", "", true, set(s.host.SetStaticHostname)},
			{"SetPrettyHostname", "sb", "", true, refused},
			{"SetIconName", "sb", "", true, refused},
			{"SetChassis", "sb", "", true, refused},
			{"SetDeployment", "sb", "", true, refused},
			{"SetLocation", "sb", "", true, refused},
		},
		properties: []property{
			{"Hostname", "s", func() any { name, _ := os.Hostname(); return name }},
			{"StaticHostname", "s", func() any { return s.staticHostname() }},
			constant("PrettyHostname", "s", ""),
			constant("DefaultHostname", "s", "kios"),
			{"HostnameSource", "s", func() any { return s.hostnameSource() }},
			constant("IconName", "s", "computer-server"),
			constant("Chassis", "s", "server"),
			constant("Deployment", "s", ""),
			constant("Location", "s", ""),
			{"KernelName", "s", func() any { return uname().sysname }},
			{"KernelRelease", "s", func() any { return uname().release }},
			{"KernelVersion", "s", func() any { return uname().version }},
			{"OperatingSystemPrettyName", "s", func() any { return s.files.osRelease("PRETTY_NAME") }},
			{"OperatingSystemCPEName", "s", func() any { return s.files.osRelease("CPE_NAME") }},
			{"HomeURL", "s", func() any { return s.files.osRelease("HOME_URL") }},
			{"HardwareVendor", "s", func() any { return firstLine("/sys/class/dmi/id/sys_vendor") }},
			{"HardwareModel", "s", func() any { return firstLine("/sys/class/dmi/id/product_name") }},
			{"FirmwareVersion", "s", func() any { return firstLine("/sys/class/dmi/id/bios_version") }},
			{"MachineID", "ay", func() any { return octets(s.files.machineID()) }},
			{"BootID", "ay", func() any { return octets(firstLine("/proc/sys/kernel/random/boot_id")) }},
		},
	}
	return []object{{dbuswire.ObjectPath("/org/freedesktop/hostname1"), []iface{host}}}
}

func (s *Server) staticHostname() string { return s.files.read(s.host.StaticHostname) }

func (s *Server) hostnameSource() string {
	if s.staticHostname() != "" {
		return "static"
	}
	return "transient"
}

type names struct{ sysname, release, version string }

func uname() names {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return names{}
	}
	return names{unix.ByteSliceToString(u.Sysname[:]), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:])}
}

// osRelease returns a field of os-release(5), "" if it is not there.
func (f files) osRelease(field string) string {
	text := f.read(func() string {
		text, _ := userfile.Read("/etc/os-release", userfile.Max)
		return string(text)
	})
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), field+"="); found {
			return strings.Trim(value, `"'`)
		}
	}
	return ""
}

// firstLine is for files of the kernel, which no disk keeps.
func firstLine(file string) string {
	text, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}

// octets turns hex digits, with dashes or without, into an array of bytes.
func octets(digits string) []any {
	raw, _ := hex.DecodeString(strings.ReplaceAll(digits, "-", ""))
	values := make([]any, len(raw))
	for i, b := range raw {
		values[i] = b
	}
	return values
}
