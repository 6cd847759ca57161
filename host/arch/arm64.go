package arch

import "debug/elf"

// arm64 is AArch64, as servers have it: UEFI, ACPI and the GICv3.
var arm64 = Arch{
	Name:     "arm64",
	Aliases:  []string{"aarch64"},
	Variants: []string{"8", "v8", "v8.0"},
	Suffix:   "-arm64",
	// v8.0: every processor of 64 bits. Go asks for LSE atomics at run time.
	Go:         []string{"GOARCH=arm64", "GOARM64=v8.0"},
	Triplet:    "aarch64-linux-gnu",
	UserBinary: "qemu-aarch64",
	Cross:      []string{"gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"},
	// Newer releases of Debian have GCC sign return addresses and mark the targets of
	// indirect jumps, as on amd64.
	PauseFlags: []string{"-mbranch-protection=none"},

	ELF: elf.EM_AARCH64,

	Kernel: Kernel{
		Arch: "arm64",
		// The kernel is not compressed on arm64, and EFI_ZBOOT makes a program of it that
		// unpacks itself: a third of the bytes for firmware to read.
		Target: "vmlinuz.efi",
		Image:  "arch/arm64/boot/vmlinuz.efi",
		Needs:  []Need{{Tool: "hexdump", Package: "bsdextrautils"}}, // for the program that unpacks
		// There is no CMDLINE_EXTEND: a line that is built in is used if the loader has none.
		Cmdline: "bonding.max_bonds=0 dummy.numdummies=0 ifb.numifbs=0 fb_tunnels=initns",
		// Graviton and Axion have a 16550; Altra, Grace, Azure and QEMU have a PL011. The
		// PL011 is last, so that it is /dev/console where there is one. On the others the
		// kernel's log is on the 16550, but /dev/console is tty0.
		Consoles: []string{"console=tty0", "console=ttyS0,115200", "console=ttyAMA0,115200"},
	},

	EFI: EFI{Stub: "linuxaa64.efi.stub", Boot: "BOOTAA64.EFI", Machine: 0xaa64},

	QEMU: QEMU{
		Binary:  "qemu-system-aarch64",
		Package: "qemu-system-arm",
		// The default is a GICv2, which has eight processors and no messages of PCIe.
		Machine: "virt,gic-version=3",
		// pauth-impdef: the algorithm that the architecture defines for pointer
		// authentication makes a boot two to three times as slow where it is emulated.
		TCG:        []string{"-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on"},
		ForeignTCG: []string{"-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on"},
		// KVM has the GIC that the host has. Nobody has run this yet.
		KVM:    []string{"-accel", "kvm", "-cpu", "host", "-machine", "gic-version=host"},
		ForTCG: "highres=off", // the test that no_timer_check leaves out is x86's
		Firmware: Firmware{
			Package: "qemu-efi-aarch64",
			// Debian 12 has one file for both: Secure Boot is off while the variables have
			// no key. Debian 13 has this name for the one without.
			Code: "/usr/share/AAVMF/AAVMF_CODE.fd",
			Vars: "/usr/share/AAVMF/AAVMF_VARS.fd",
			// Without firmware QEMU describes the machine by a device tree, and there is no
			// power button of ACPI.
			Direct: "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
			Secure: Secure{
				Code: "/usr/share/AAVMF/AAVMF_CODE.snakeoil.fd",
				Vars: "/usr/share/AAVMF/AAVMF_VARS.snakeoil.fd",
				Key:  "/usr/share/qemu-efi-aarch64/PkKek-1-snakeoil.key",
				Cert: "/usr/share/qemu-efi-aarch64/PkKek-1-snakeoil.pem",
				// There is no system management mode.
				Args: nil,
			},
		},
		Console: "ttyAMA0",
		// Firmware starts the kernel in a direct boot, too, and both have the initrd in
		// memory. With 384 MiB some boots succeed; with 448 all do.
		MinMemory: 384 << 20,
		AHCI:      "ich9-ahci,id=ide",
		// The firmware has no driver for VGA, and virtio-gpu has no memory to draw in.
		Screen: "ramfb",
		// The machine has no keyboard and no watchdog of its own.
		Keyboard: "usb-kbd",
		Watchdog: "i6300esb",
		// VMware's driver is for x86 alone.
		VMwareDisk: "",
	},

	EC2: EC2{
		Machine: "arm64",
		Types:   []InstanceType{{8 << 30, "m7g.large"}, {4 << 30, "t4g.medium"}, {2 << 30, "t4g.small"}, {1 << 30, "t4g.micro"}, {0, "t4g.nano"}},
	},
}
