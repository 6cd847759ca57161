package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/host/arch"
	"kios/host/uki/ukitest"
	"kios/test/lab"
)

// machine is that of tests for which it makes no difference.
const machine = pe.IMAGE_FILE_MACHINE_ARM64

func exampleParts(t *testing.T) Parts {
	t.Helper()
	return partsFor(t, machine)
}

func partsFor(t *testing.T, machine uint16) Parts {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		lab.Must(t, os.WriteFile(path, data, 0o600))
		return path
	}
	return Parts{
		Stub:      write("stub", ukitest.PE(machine, pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT)),
		Linux:     write("vmlinuz", ukitest.Kernel(machine, pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT)),
		Uname:     "6.12.1-kios",
		Initrd:    write("initrd", bytes.Repeat([]byte("initrd"), 1000)),
		OSRelease: "ID=kios\n",
		Cmdline:   "console=ttyS0",
		SBAT:      "kios,1,kiOS,kios,1,https://example.org/\n",
	}
}

func create(t *testing.T, parts Parts) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "kios.efi")
	lab.Must(t, Create(out, parts))
	return out
}

func TestRoundTrip(t *testing.T) {
	for _, a := range arch.All {
		t.Run(a.Name, func(t *testing.T) { testRoundTrip(t, a.EFI.Machine) })
	}
}

func testRoundTrip(t *testing.T, machine uint16) {
	parts := partsFor(t, machine)
	out := create(t, parts)
	image, f, err := Read(out)
	lab.Must(t, err)
	defer f.Close()
	if image.Machine != machine {
		t.Errorf("machine = %#x, want %#x", image.Machine, machine)
	}
	var order []string
	total := image.Headers + image.Trailer
	for _, s := range image.Sections {
		order = append(order, s.Name)
		total += s.Stored
	}
	want := []string{".text", ".sbat", ".osrel", ".cmdline", ".uname", ".linux", ".initrd"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("sections (-want +got)\n%s", diff)
	}
	if total != image.Size {
		t.Errorf("the parts add up to %d bytes, the file has %d", total, image.Size)
	}
	initrd, _ := os.ReadFile(parts.Initrd)
	linux, _ := os.ReadFile(parts.Linux)
	for name, want := range map[string]string{
		".osrel":   "ID=kios\n",
		".cmdline": "console=ttyS0",
		".uname":   "6.12.1-kios",
		".linux":   string(linux),
		".initrd":  string(initrd),
		".sbat":    ukitest.SBAT + parts.SBAT + "\x00",
	} {
		r, err := image.Open(name)
		lab.Must(t, err)
		if got, _ := io.ReadAll(r); string(got) != want {
			t.Errorf("section %s has %d bytes that are not the %d put in", name, len(got), len(want))
		}
	}
}

func TestBuildIsReproducible(t *testing.T) {
	parts := exampleParts(t)
	one, err := Build(parts)
	lab.Must(t, err)
	two, _ := Build(parts)
	if !bytes.Equal(one, two) {
		t.Error("two images of the same parts differ")
	}
}

func TestNXFollowsTheKernel(t *testing.T) {
	const nx = pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT
	for _, kernel := range []uint16{0, nx} {
		parts := exampleParts(t)
		os.WriteFile(parts.Linux, ukitest.Kernel(machine, kernel), 0o600)
		image, err := Build(parts)
		lab.Must(t, err)
		f, err := pe.NewFile(bytes.NewReader(image))
		lab.Must(t, err)
		if got := f.OptionalHeader.(*pe.OptionalHeader64).DllCharacteristics & nx; got != kernel {
			t.Errorf("flag of the image = %#x, of its kernel %#x", got, kernel)
		}
	}
}

func TestObjdumpAgrees(t *testing.T) {
	for _, a := range arch.All {
		t.Run(a.Name, func(t *testing.T) { testObjdumpAgrees(t, a) })
	}
}

// formats are what objdump calls EFI programs.
var formats = map[string]string{"amd64": "pei-x86-64", "arm64": "pei-aarch64-little"}

func testObjdumpAgrees(t *testing.T, a arch.Arch) {
	objdump := a.Tool("objdump")
	if _, err := exec.LookPath(objdump); err != nil {
		t.Skip(objdump, "is not installed (apt-get install", strings.Join(a.ToolPackages(), " ")+")")
	}
	out, err := exec.Command(objdump, "-h", "-p", create(t, partsFor(t, a.EFI.Machine))).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", objdump, err, out)
	}
	fields := strings.Join(strings.Fields(string(out)), " ")
	for _, want := range []string{
		"file format " + formats[a.Name],
		"SizeOfImage 00009000",
		"2 .osrel 00000008 0000000000003000 0000000000003000 00000800",
		"5 .linux 00000be9 0000000000006000 0000000000006000 00000e00",
		"6 .initrd 00001770 0000000000007000 0000000000007000 00001a00",
	} {
		if !strings.Contains(fields, want) {
			t.Errorf("objdump does not say %q:\n%s", want, out)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	text := []byte("just some text that is long enough to hold a header" + strings.Repeat(".", 0x300))
	signed := ukitest.PE(machine, 0)
	binary.LittleEndian.PutUint32(signed[0x84+20+112+4*8+4:], 8)
	other := ukitest.Kernel(pe.IMAGE_FILE_MACHINE_AMD64, 0)
	full := ukitest.PE(machine, 0)
	binary.LittleEndian.PutUint32(full[0x84+offSizeOfHeaders:], 0x200)
	tests := []struct {
		name string
		edit func(p *Parts)
		want string
	}{
		{"no stub", func(p *Parts) { p.Stub = "/does/not/exist" }, "read EFI stub: open /does/not/exist"},
		{"no kernel", func(p *Parts) { p.Linux = "/does/not/exist" }, "read kernel: open /does/not/exist"},
		{"no initrd", func(p *Parts) { p.Initrd = "/does/not/exist" }, "read initrd: open /does/not/exist"},
		{"stub is text", func(p *Parts) { os.WriteFile(p.Stub, text, 0o600) }, "not an EFI file"},
		{"stub is signed", func(p *Parts) { os.WriteFile(p.Stub, signed, 0o600) }, "is signed"},
		{"stub has no room", func(p *Parts) { os.WriteFile(p.Stub, full, 0o600) }, "add section .cmdline: the EFI stub's header has no room"},
		{"stub is cut", func(p *Parts) { os.WriteFile(p.Stub, ukitest.PE(machine, 0)[:0x500], 0o600) }, "section .text lies beyond the end"},
		{"kernel is text", func(p *Parts) { os.WriteFile(p.Linux, text, 0o600) }, "not an EFI program"},
		{"kernel for another machine", func(p *Parts) { os.WriteFile(p.Linux, other, 0o600) }, "is for machine type 0x8664, the EFI stub for 0xaa64"},
		{"no release", func(p *Parts) { p.Uname = "" }, "the kernel's release is missing"},
		{"too much SBAT", func(p *Parts) { p.SBAT = strings.Repeat("x", 500) }, "section .sbat has room for 512 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			parts := exampleParts(t)
			tt.edit(&parts)
			_, err := Build(parts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestReadBadInput(t *testing.T) {
	good, err := Build(exampleParts(t))
	lab.Must(t, err)
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "not an EFI file"},
		{"text", []byte("hello"), "not an EFI file"},
		{"truncated", good[:len(good)-512], "section .initrd ends at byte 12800, the file at byte 12288: it is truncated"},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "x.efi")
		os.WriteFile(path, tt.data, 0o600)
		_, _, err := Read(path)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one with %q", tt.name, err, tt.want)
		}
	}
	if _, _, err := Read(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("directory: error = %v", err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Read(pipe); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Read of a named pipe = %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ukitest.PE(machine, 0))
	f.Add(ukitest.Kernel(machine, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		image, err := Parse(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		total := image.Headers + image.Trailer
		for _, s := range image.Sections {
			total += s.Stored
		}
		if total != image.Size {
			t.Errorf("the parts add up to %d bytes, the file has %d", total, image.Size)
		}
	})
}

func FuzzBuilder(f *testing.F) {
	f.Add(ukitest.PE(machine, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		builder, err := newBuilder(b)
		if err != nil {
			return
		}
		_ = builder.addSBAT("kios,1\n")
		_ = builder.add(".linux", []byte("data"), codeSection)
	})
}
