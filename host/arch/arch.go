// Package arch says what differs between the architectures that kiOS is built for, in
// one value each. Nobody else asks which one it is: whatever differs is a field here,
// with its reason.
//
// The names are those that Go, Debian, OCI images and Kubernetes have in common. What
// the kernel, GNU, QEMU and UEFI call the same is in the fields.
package arch

import (
	"debug/elf"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// Arch is an architecture that kiOS is built for.
type Arch struct {
	Name       string   // such as "arm64"; its products are in _out/NAME
	Aliases    []string // what others call it: uname -m, and some that make images
	Variants   []string // words for the oldest processors of an image's platform, which are all
	Suffix     string   // of its products in the cache; see Product
	Go         []string // environment of the go command
	Triplet    string   // GNU's name, of compilers and of directories of libraries
	UserBinary string   // QEMU's program that runs programs of this architecture on another one
	Cross      []string // Debian packages with the compiler and its C library, for a host of another architecture
	PauseFlags []string // flags of GCC for a program without any library

	ELF elf.Machine // in the header of programs

	Kernel Kernel
	EFI    EFI
	QEMU   QEMU
	EC2    EC2
}

// Kernel is what the build of Linux has to know.
type Kernel struct {
	Arch   string // what the kernel's Makefiles call ARCH
	Target string // of make
	Image  string // what that makes, in the kernel's source: an EFI program
	Needs  []Need // besides what the build needs for every architecture

	// Cmdline are words of the command line for what another architecture's kernel has
	// built in.
	Cmdline string
	// Consoles are the words console=. The last one is /dev/console if the machine has
	// it, else tty0 is.
	Consoles []string
}

// Need is a tool or a header of the host, and the Debian package that has it.
type Need struct{ Tool, Header, Package string }

// EFI is what the UEFI specification names by architecture.
type EFI struct {
	Stub    string // of systemd-stub, in usr/lib/systemd/boot/efi
	Boot    string // the program that firmware looks for in /EFI/BOOT of every disk (2.10, 3.5.1.1)
	Machine uint16 // in the header of programs (PE format, "Machine Types")
}

// QEMU is how machines of this architecture are made.
type QEMU struct {
	Binary  string // the program
	Package string // the Debian package that has it
	Machine string // for -machine

	// Arguments that say what executes the guest's instructions. ForeignTCG takes the
	// place of TCG on a host of another architecture.
	TCG, ForeignTCG, KVM []string
	// ForTCG are words of the guest's command line for emulated machines.
	ForTCG string

	Firmware Firmware
	Console  string // the serial port, as the guest's kernel calls it
	// MinMemory is what a machine needs to start a node at all, in bytes.
	MinMemory int64

	// AHCI is the device to add for buses ide.N; "" if each machine has them.
	AHCI string
	// What tests plug in: a screen that the firmware draws on; a keyboard and a watchdog,
	// "" if each machine has one; VMware's controller of disks, "" if the kernel has no driver.
	Screen, Keyboard, Watchdog, VMwareDisk string
}

// Firmware are files of UEFI firmware, as Debian installs them.
type Firmware struct {
	Package    string // that has them all
	Code, Vars string // of machines without Secure Boot
	// Direct is firmware without variables for machines that QEMU gives a kernel; "" if
	// QEMU starts kernels by itself, with ACPI.
	Direct string
	Secure Secure
}

// Secure is firmware with Secure Boot whose key is public, for tests.
type Secure struct {
	Code, Vars string
	Key, Cert  string   // of the key that it trusts
	Args       []string // of QEMU, besides
}

// EC2 is how a machine of kios run --user-data looks.
type EC2 struct {
	Machine string // architecture, in the instance's identity document
	// Types of instances with two processors, by memory, largest first; the last has
	// none. The node computes from them how many pods it takes, and so how much memory
	// it keeps for itself.
	Types []InstanceType
}

// InstanceType is a type of EC2's instances and its memory in bytes.
type InstanceType struct {
	Memory int64
	Name   string
}

// All are the architectures that kiOS is built for.
var All = []Arch{amd64, arm64}

// Names are theirs.
func Names() (names []string) {
	for _, a := range All {
		names = append(names, a.Name)
	}
	return names
}

// Find returns the architecture of a name.
func Find(name string) (Arch, error) {
	for _, a := range All {
		if a.Name == name {
			return a, nil
		}
		if a.Called(name) {
			return Arch{}, fmt.Errorf("architecture %q is called %s here: use %s", name, a.Name, strings.Join(Names(), " or "))
		}
	}
	return Arch{}, fmt.Errorf("architecture %q is not known: use %s", name, strings.Join(Names(), " or "))
}

// Called reports whether a name is the architecture's, here or elsewhere.
func (a Arch) Called(name string) bool { return a.Name == name || slices.Contains(a.Aliases, name) }

// OfMachine returns the architecture of an EFI program by the machine type in its header.
func OfMachine(machine uint16) (Arch, error) {
	for _, a := range All {
		if a.EFI.Machine == machine {
			return a, nil
		}
	}
	return Arch{}, fmt.Errorf("EFI machine type %#x is none of %s", machine, strings.Join(Names(), ", "))
}

// Host is the architecture of this machine. One that kiOS is not built for has a name
// and nothing else.
func Host() Arch {
	a, err := Find(runtime.GOARCH)
	if err != nil {
		return Arch{Name: runtime.GOARCH}
	}
	return a
}

// Check says what is wrong with an architecture to build for, such as that of a host that
// kiOS does not know.
func (a Arch) Check() error {
	if a.Name == "" {
		return errors.New("no architecture is given")
	}
	_, err := Find(a.Name)
	return err
}

// Foreign reports whether programs of the architecture do not run on this machine.
func (a Arch) Foreign() bool { return a.foreignTo(runtime.GOARCH) }

func (a Arch) foreignTo(host string) bool { return a.Name != host }

// Flag is what a command of kios is given to be about this architecture, behind a space:
// nothing on its own host, which is the default.
func (a Arch) Flag() string { return a.flagOn(runtime.GOARCH) }

func (a Arch) flagOn(host string) string {
	if a.Name == "" || !a.foreignTo(host) {
		return ""
	}
	return " --arch " + a.Name
}

// Product is the name in the cache of a product that differs between architectures. That
// of amd64 is the plain one: so were all before there was another architecture.
func (a Arch) Product(name string) string { return name + a.Suffix }

// Tool is a program of GCC or binutils that makes or reads programs of the architecture:
// the host's own, or that of a cross compiler.
func (a Arch) Tool(name string) string { return a.toolOn(runtime.GOARCH, name) }

func (a Arch) toolOn(host, name string) string { return a.crossCompileOn(host) + name }

// CrossCompile is what the names of these programs begin with, "" on the architecture's
// own host. The kernel's Makefiles have a variable of that name.
func (a Arch) CrossCompile() string { return a.crossCompileOn(runtime.GOARCH) }

func (a Arch) crossCompileOn(host string) string {
	if a.foreignTo(host) {
		return a.Triplet + "-"
	}
	return ""
}

// ToolPackages are the Debian packages that have the programs of Tool and the C library
// to link with.
func (a Arch) ToolPackages() []string { return a.toolPackagesOn(runtime.GOARCH) }

func (a Arch) toolPackagesOn(host string) []string {
	if a.foreignTo(host) {
		return a.Cross
	}
	return []string{"gcc", "binutils", "libc6-dev"}
}

// BuildPackages are the Debian packages that this machine needs to build for the
// architecture, besides those that it needs to build anything.
func (a Arch) BuildPackages() []string { return a.buildPackagesOn(runtime.GOARCH) }

func (a Arch) buildPackagesOn(host string) []string {
	names := slices.Clone(a.toolPackagesOn(host))
	for _, n := range a.Kernel.Needs {
		names = append(names, n.Package)
	}
	return names
}

// MachinePackages are those that it needs to boot machines. That does not take in a QEMU
// for another architecture: package qemu gets it, with what it depends on, where nothing
// has to be installed for it.
func (a Arch) MachinePackages() []string { return a.machinePackagesOn(runtime.GOARCH) }

func (a Arch) machinePackagesOn(host string) []string {
	if a.foreignTo(host) {
		return []string{a.QEMU.Firmware.Package}
	}
	return []string{a.QEMU.Package, a.QEMU.Firmware.Package}
}

// Emulation are QEMU's arguments for a machine without KVM.
func (q QEMU) Emulation(foreign bool) []string {
	if foreign {
		return q.ForeignTCG
	}
	return q.TCG
}

// InstanceType is the one for a machine with so many bytes of memory.
func (e EC2) InstanceType(memory int64) string {
	for _, t := range e.Types {
		if memory >= t.Memory {
			return t.Name
		}
	}
	return ""
}
