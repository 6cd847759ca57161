package arch

import "debug/elf"

// amd64 is x86-64, the architecture that kiOS was first made for.
var amd64 = Arch{
	Name:     "amd64",
	Aliases:  []string{"x86_64", "x86-64"},
	Variants: []string{"v1"},
	// What is in the caches of today stays valid.
	Suffix: "",
	// v1: every processor of 64 bits. What uses more asks the processor at run time.
	Go:         []string{"GOARCH=amd64", "GOAMD64=v1"},
	Triplet:    "x86_64-linux-gnu",
	UserBinary: "qemu-x86_64",
	Cross:      []string{"gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"},
	// Debian's GCC marks the targets of indirect jumps, which takes a note that the
	// linker puts into a segment of its own.
	PauseFlags: []string{"-fcf-protection=none"},

	ELF: elf.EM_X86_64,

	Kernel: Kernel{
		Arch:   "x86_64",
		Target: "bzImage",
		Image:  "arch/x86/boot/bzImage",
		// objtool, which checks the kernel's stack and writes tables to unwind it, is for
		// x86 alone.
		Needs: []Need{{Header: "libelf.h", Package: "libelf-dev"}},
		// Nothing: CONFIG_CMDLINE has it, in kernel/amd64/network.config.
		Cmdline: "",
		// All servers and clouds have a PC's first serial port.
		Consoles: []string{"console=tty0", "console=ttyS0,115200"},
	},

	EFI: EFI{Stub: "linuxx64.efi.stub", Boot: "BOOTX64.EFI", Machine: 0x8664},

	QEMU: QEMU{
		Binary:  "qemu-system-x86_64",
		Package: "qemu-system-x86",
		Machine: "q35",
		// Programs that find AVX2 use it, and its instructions take QEMU longer than those
		// in whose place they are.
		TCG: []string{"-accel", "tcg,thread=multi", "-cpu", "max,avx2=off"},
		// One thread for all processors: other hosts may reorder what x86 must see in
		// order. Nobody has run this yet.
		ForeignTCG: []string{"-accel", "tcg,thread=single", "-cpu", "max,avx2=off"},
		KVM:        []string{"-accel", "kvm", "-cpu", "host"},
		// no_timer_check keeps the kernel from testing whether timer interrupts arrive
		// within ten ticks. They do not when the host's processors are busy with other
		// things, and the guest would panic ("IO-APIC + timer doesn't work"). Under KVM
		// the kernel leaves the test out by itself. highres=off has timers end with a
		// tick, every 4 ms: see package qemu.
		ForTCG: "no_timer_check highres=off",
		// The variant without Secure Boot, with flash of 4 MiB.
		Firmware: Firmware{
			Package: "ovmf",
			Code:    "/usr/share/OVMF/OVMF_CODE_4M.fd",
			Vars:    "/usr/share/OVMF/OVMF_VARS_4M.fd",
			// QEMU starts a bzImage by itself, and SeaBIOS leaves ACPI's tables.
			Direct: "",
			Secure: Secure{
				Code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
				Vars: "/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd",
				Key:  "/usr/share/ovmf/PkKek-1-snakeoil.key",
				Cert: "/usr/share/ovmf/PkKek-1-snakeoil.pem",
				// Only code in system management mode may write the variables.
				Args: []string{"-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"},
			},
		},
		Console:    "ttyS0",
		MinMemory:  128 << 20,
		AHCI:       "", // q35 has six ports
		Screen:     "VGA",
		Keyboard:   "", // q35 has a PC's, as all hypervisors do
		Watchdog:   "", // and its watchdog, the iTCO
		VMwareDisk: "pvscsi",
	},

	EC2: EC2{
		Machine: "x86_64",
		Types:   []InstanceType{{8 << 30, "m5.large"}, {4 << 30, "t3.medium"}, {2 << 30, "t3.small"}, {1 << 30, "t3.micro"}, {0, "t3.nano"}},
	},
}
