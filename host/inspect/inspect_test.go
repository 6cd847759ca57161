package inspect

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/host/arch"
	"kios/host/cpio"
	"kios/host/erofs"
	"kios/host/hosttool"
	"kios/host/inventory"
	"kios/host/uki"
	"kios/host/uki/ukitest"
	"kios/test/lab"
)

var exampleInventory = inventory.Manifest{
	Version: "0.1.0",
	Files: []inventory.File{
		{Path: "/bin/init", Purpose: "PID 1", Upstream: "kiOS", Version: "0.1.0", Licence: "Apache-2.0"},
		{Path: "/bin/mount", Purpose: "link to init", Upstream: "kiOS", Version: "0.1.0", Licence: "Apache-2.0"},
		{Path: inventory.Path, Purpose: "this list", Upstream: "kiOS", Version: "0.1.0", Licence: "Apache-2.0"},
	},
	Processes: []inventory.Process{{Name: "init", Path: "/bin/init", Purpose: "starts the rest"}},
}

// script is a small program, for tests that do not look into it.
var script = []byte("#!/bin/sh\n")

func write(t *testing.T, dir, name string, data []byte, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o600), os.Chmod(path, mode))
	lab.Must(t, err)
	return path
}

// makeEFI makes an EFI file whose root has program as /bin/init; edit changes
// the staged root.
func makeEFI(t *testing.T, program []byte, edit func(root string)) string {
	t.Helper()
	if _, err := hosttool.Find("mkfs.erofs"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	write(t, root, "bin/init", program, 0o555)
	list, _ := json.Marshal(exampleInventory)
	write(t, root, inventory.Path, list, 0o444)
	lab.Must(t, os.Symlink("init", filepath.Join(root, "bin/mount")))
	edit(root)
	image := filepath.Join(dir, "rootfs.erofs")
	lab.Must(t, erofs.Make(context.Background(), root, image, erofs.Options{Compression: "lz4", Cluster: 65536}))
	return pack(t, dir, func(w *cpio.Writer) error {
		return errors.Join(w.Dir("dev", 0o755), w.CharDevice("dev/console", 0o600, 5, 1), w.File("init", 0o755, int64(len(program)), bytes.NewReader(program)), w.FileFrom("rootfs.erofs", 0o444, image))
	})
}

// pack makes an EFI file of an initrd that fill writes.
func pack(t *testing.T, dir string, fill func(w *cpio.Writer) error) string {
	t.Helper()
	var initrd bytes.Buffer
	w := cpio.NewWriter(&initrd)
	lab.Must(t, errors.Join(fill(w), w.Close()))
	return packRaw(t, dir, initrd.Bytes())
}

func packRaw(t *testing.T, dir string, initrd []byte) string {
	t.Helper()
	out := filepath.Join(dir, "kios.efi")
	if err := uki.Create(out, uki.Parts{
		Stub:      write(t, dir, "stub", ukitest.PE(arch.Host().EFI.Machine, 0), 0o600),
		Linux:     write(t, dir, "vmlinuz", ukitest.Kernel(arch.Host().EFI.Machine, 0), 0o600),
		Uname:     "6.12.1-kios",
		Initrd:    write(t, dir, "initrd", initrd, 0o600),
		OSRelease: "ID=kios\n",
		Cmdline:   "console=ttyS0",
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func inspectFile(t *testing.T, path string) *Report {
	t.Helper()
	r, err := Inspect(context.Background(), path, erofs.Tools{})
	lab.Must(t, err)
	return r
}

func TestInspect(t *testing.T) {
	exe, err := os.Executable() // some Go program
	lab.Must(t, err)
	program, err := os.ReadFile(exe)
	lab.Must(t, err)
	r := inspectFile(t, makeEFI(t, program, func(string) {}))
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	var total int64
	for _, p := range r.Parts {
		total += p.Size
		if p.Size < 0 {
			t.Errorf("part %s has %d bytes", p.Name, p.Size)
		}
	}
	if total != r.Size {
		t.Errorf("the parts add up to %d bytes, the file has %d", total, r.Size)
	}
	if r.Arch != arch.Host().Name {
		t.Errorf("it is for %s, want %s", r.Arch, arch.Host().Name)
	}
	if r.Version != "0.1.0" || r.Kernel != "6.12.1-kios" || r.Cmdline != "console=ttyS0" {
		t.Errorf("version %q, kernel %q, command line %q", r.Version, r.Kernel, r.Cmdline)
	}
	if diff := cmp.Diff([]Link{{"/bin/mount", "init", "link to init"}}, r.Links); diff != "" {
		t.Errorf("links (-want +got)\n%s", diff)
	}
	if len(r.Files) != 2 || r.Files[0].Path != "/bin/init" || r.Files[0].Mode != "-r-xr-xr-x" || r.Files[0].Purpose != "PID 1" {
		t.Errorf("files = %+v", r.Files)
	}
	if len(r.Binaries) != 1 || r.Binaries[0].Path != "/bin/init" || !strings.HasPrefix(r.Binaries[0].GoVersion, "go1.") || r.Binaries[0].Setuid {
		t.Errorf("binaries = %+v", r.Binaries)
	}
	if diff := cmp.Diff(exampleInventory.Processes, r.Processes); diff != "" {
		t.Errorf("processes (-want +got)\n%s", diff)
	}
}

func TestTextFits(t *testing.T) {
	r := inspectFile(t, makeEFI(t, script, func(string) {}))
	var out bytes.Buffer
	lab.Must(t, r.Write(&out))
	for line := range strings.Lines(out.String()) {
		// The first line holds the name of the file, which may be long.
		if len(line) > 101 && !strings.Contains(line, r.File) {
			t.Errorf("line has %d columns: %s", len(line)-1, line)
		}
	}
	for _, want := range []string{"Binaries (1)", "/bin/mount -> init", ".initrd", "/dev/console", "PID 1 (Apache-2.0)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
}

func TestProblems(t *testing.T) {
	tests := []struct {
		name string
		edit func(root string)
		want string
	}{
		{"unlisted file", func(root string) { os.WriteFile(filepath.Join(root, "bin/sh"), []byte("#!"), 0o755) }, "/bin/sh has no stated purpose"},
		{"program for another machine", func(root string) { write(t, root, "bin/other", elfFor(elf.EM_S390), 0o755) }, "/bin/other is a program for EM_S390, and the EFI file is for " + arch.Host().Name},
		{"missing file", func(root string) { os.Remove(filepath.Join(root, "bin/mount")) }, "/bin/mount is listed but not in the root"},
		{"no list", func(root string) { os.Remove(filepath.Join(root, inventory.Path)) }, "the root's list of files cannot be read"},
		{"damaged list", func(root string) {
			path := filepath.Join(root, inventory.Path)
			os.Chmod(path, 0o600)
			os.WriteFile(path, []byte("{"), 0o600)
		}, "the root's list of files cannot be read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := inspectFile(t, makeEFI(t, script, tt.edit))
			found := slices.ContainsFunc(r.Problems, func(p string) bool { return strings.Contains(p, tt.want) })
			if !found || r.Check() == nil {
				t.Errorf("problems = %q, want %q", r.Problems, tt.want)
			}
		})
	}
}

// elfFor is the header of a program, and no more.
func elfFor(machine elf.Machine) []byte {
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64, Phentsize: 56, Shentsize: 64}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	binary.Write(&b, binary.LittleEndian, h)
	return b.Bytes()
}

func TestSetuidAndScriptsShow(t *testing.T) {
	r := inspectFile(t, makeEFI(t, script, func(root string) {
		path := filepath.Join(root, "bin/su")
		os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755)
		os.Chmod(path, 0o755|fs.ModeSetuid)
	}))
	got := r.Binaries[len(r.Binaries)-1]
	if diff := cmp.Diff(Binary{Path: "/bin/su", Size: 10, OnDisk: 10, Setuid: true}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if mode := r.Files[1].Mode; mode != "-rwsr-xr-x" {
		t.Errorf("mode = %s", mode)
	}
}

func TestInspectBadInput(t *testing.T) {
	dir := t.TempDir()
	good := packRaw(t, dir, []byte("not a cpio archive, but long enough to hold the header of one: "+strings.Repeat(".", 100)))
	data, _ := os.ReadFile(good)
	noRoot := pack(t, t.TempDir(), func(w *cpio.Writer) error { return w.Dir("dev", 0o755) })
	badRoot := pack(t, t.TempDir(), func(w *cpio.Writer) error {
		return w.File("rootfs.erofs", 0o444, 5, strings.NewReader("hello"))
	})
	tests := []struct{ name, path, want string }{
		{"not there", filepath.Join(dir, "none"), "no such file"},
		{"not a PE", write(t, dir, "text", []byte("hello"), 0o600), "not an EFI file"},
		{"no .initrd", write(t, dir, "pe", ukitest.PE(arch.Host().EFI.Machine, 0), 0o600), "no section .initrd: not a unified kernel image"},
		{"truncated", write(t, dir, "cut", data[:len(data)-512], 0o600), "section .initrd ends at byte"},
		{"no cpio", good, "section .initrd: read cpio archive at byte 0: not in the newc format"},
		{"no root", noRoot, "it has no rootfs.erofs, so this EFI file is not kiOS"},
		{"bad root", badRoot, "extract EROFS image"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Inspect(context.Background(), tt.path, erofs.Tools{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error = %v, want one with %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error has more than one line: %q", err)
			}
		})
	}
}

func TestModeString(t *testing.T) {
	for mode, want := range map[fs.FileMode]string{
		0o644:                                     "-rw-r--r--",
		fs.ModeDir | fs.ModeSticky | 0o777:        "drwxrwxrwt",
		fs.ModeSymlink | 0o777:                    "lrwxrwxrwx",
		fs.ModeSetuid | 0o644:                     "-rwSr--r--",
		fs.ModeSetgid | 0o755:                     "-rwxr-sr-x",
		fs.ModeDevice | fs.ModeCharDevice | 0o600: "crw-------",
	} {
		if got := modeString(mode); got != want {
			t.Errorf("modeString(%v) = %s, want %s", mode, got, want)
		}
	}
}
