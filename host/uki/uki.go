// Package uki makes and reads unified kernel images: one EFI program with the
// kernel, its initrd and its command line as sections of systemd-stub
// (https://uapi-group.org/specifications/specs/unified_kernel_image/).
//
// The file is laid out as systemd's ukify 257 lays out the same parts: .osrel,
// .cmdline, .uname, .linux and .initrd behind the stub's own sections, in that
// order, and .sbat merged in place. The package neither signs nor measures;
// both can be done to the file afterwards, for which room in the header is
// kept. The PE format is Microsoft's "PE Format" document.
package uki

import (
	"bytes"
	"debug/pe"
	"errors"
	"fmt"
	"os"
	"strings"

	"kios/internal/wholefile"
)

// Parts are what goes into an image.
type Parts struct {
	Stub      string // path of systemd-stub, such as linuxx64.efi.stub
	Linux     string // path of the kernel, an EFI program for the same machine
	Uname     string // what its uname -r says
	Initrd    string // path of the initrd
	OSRelease string // contents of os-release
	Cmdline   string // kernel command line
	SBAT      string // lines of revocation metadata to add; see https://github.com/rhboot/shim/blob/main/SBAT.md
}

// Create writes the image to the file out.
func Create(out string, parts Parts) error {
	image, err := Build(parts)
	if err != nil {
		return err
	}
	return wholefile.Durable(out, image, 0o644)
}

// Build returns the image. The same parts give the same bytes.
func Build(parts Parts) ([]byte, error) {
	if parts.Uname == "" {
		return nil, errors.New("the kernel's release is missing")
	}
	linux, err := os.ReadFile(parts.Linux)
	if err != nil {
		return nil, fmt.Errorf("read kernel: %w", err)
	}
	initrd, err := os.ReadFile(parts.Initrd)
	if err != nil {
		return nil, fmt.Errorf("read initrd: %w", err)
	}
	img, err := readStub(parts.Stub)
	if err != nil {
		return nil, err
	}
	if err := img.matchKernel(linux); err != nil {
		return nil, fmt.Errorf("read kernel %s: %w", parts.Linux, err)
	}
	if err := img.addSBAT(parts.SBAT); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		name  string
		data  []byte
		flags uint32
	}{
		{".osrel", []byte(parts.OSRelease), dataSection},
		{".cmdline", []byte(parts.Cmdline), dataSection},
		{".uname", []byte(parts.Uname), dataSection},
		{".linux", linux, codeSection},
		{".initrd", initrd, dataSection},
	} {
		if err := img.add(s.name, s.data, s.flags); err != nil {
			return nil, err
		}
	}
	return img.data, nil
}

func readStub(path string) (*builder, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read EFI stub: %w", err)
	}
	b, err := newBuilder(data)
	if err != nil {
		return nil, fmt.Errorf("read EFI stub %s: %w", path, err)
	}
	return b, nil
}

// matchKernel checks that kernel is an EFI program for the stub's machine. It
// drops the stub's promise that writable memory is never executed unless the
// kernel makes it too: firmware that enforces it would stop the kernel.
func (b *builder) matchKernel(kernel []byte) error {
	f, err := pe.NewFile(bytes.NewReader(kernel))
	if err != nil {
		return fmt.Errorf("not an EFI program (is CONFIG_EFI_STUB set?): %w", err)
	}
	h, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || f.Machine != b.machine {
		return fmt.Errorf("is for machine type %#x, the EFI stub for %#x", f.Machine, b.machine)
	}
	if h.DllCharacteristics&pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT == 0 {
		b.clearNX()
	}
	return nil
}

// addSBAT appends lines to the stub's .sbat section.
func (b *builder) addSBAT(lines string) error {
	if lines == "" {
		return nil
	}
	old, err := b.section(".sbat")
	if err != nil {
		return fmt.Errorf("read EFI stub: %w", err)
	}
	if !bytes.HasPrefix(old, []byte("sbat,")) {
		return errors.New("read EFI stub: section .sbat does not begin with its own entry")
	}
	merged := strings.TrimRight(string(old), "\x00\n") + "\n" + strings.TrimRight(lines, "\n") + "\n\x00"
	return b.replace(".sbat", []byte(merged))
}
