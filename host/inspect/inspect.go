// Package inspect takes a kios.efi apart, without running it: the sections of
// the EFI file, the entries of its initrd, the files of its root and the
// programs among them. Every byte of the file is accounted for.
//
// It believes the file's own list (package inventory) for what cannot be
// measured, such as purposes and licences, and says where list and root differ. It
// says as well which programs are for another architecture than the EFI file.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/cpio"
	"kios/host/erofs"
	"kios/host/filetree"
	"kios/host/inventory"
	"kios/host/uki"
)

// rootName is the EROFS image among the initrd's entries.
const rootName = "rootfs.erofs"

// Report is what is in an EFI file. Its JSON form is what "kios inspect
// --json" prints; later versions may add fields and rename none. Sizes are in
// bytes, modes as ls prints them.
type Report struct {
	File      string              `json:"file"`
	Size      int64               `json:"size"`
	Arch      string              `json:"architecture"` // of the machines that it is for
	Version   string              `json:"version"`      // of kiOS
	Kernel    string              `json:"kernel"`       // as uname -r prints it
	Cmdline   string              `json:"cmdline"`      // of the kernel
	Parts     []Part              `json:"parts"`        // sizes that add up to Size
	Sections  []Section           `json:"sections"`     // of the EFI file
	Initrd    []File              `json:"initrd"`       // entries of the initrd
	Images    []Image             `json:"images"`       // of the OS, for pods
	Files     []File              `json:"files"`        // of the root
	Links     []Link              `json:"links"`        // symbolic links of the root
	Dirs      []File              `json:"directories"`
	Binaries  []Binary            `json:"binaries"`  // programs of the root
	Processes []inventory.Process `json:"processes"` // of a running node, outside of containers
	Problems  []string            `json:"problems"`  // where the root differs from its list, or from the EFI file

	arch arch.Arch
}

// Part is a share of the file's bytes.
type Part struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// Section is a section of the EFI file.
type Section struct {
	Name   string `json:"name"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`   // without padding
	Stored int64  `json:"stored"` // with it
	SHA256 string `json:"sha256"` // of Size bytes
}

// Image is a container image of the OS.
type Image struct {
	Name   string  `json:"name"`
	Layers []Layer `json:"layers"`
}

// Layer is a layer of an image: an EROFS image, of Size bytes in the EFI file.
// Images may share it.
type Layer struct {
	Title   string `json:"title"`
	Digest  string `json:"digest"`
	Size    int64  `json:"size"`
	Origin  string `json:"origin"`
	Licence string `json:"licence"` // SPDX expression
}

// File is a file or directory. OnDisk is its size in the image, compressed;
// the fields from Purpose on come from the root's own list.
type File struct {
	Path     string `json:"path"`
	Mode     string `json:"mode"`
	Size     int64  `json:"size"`
	OnDisk   int64  `json:"onDisk"`
	Purpose  string `json:"purpose,omitempty"`
	Upstream string `json:"upstream,omitempty"`
	Version  string `json:"version,omitempty"`
	Licence  string `json:"licence,omitempty"`
}

// Link is a symbolic link.
type Link struct {
	Path    string `json:"path"`
	Target  string `json:"target"`
	Purpose string `json:"purpose,omitempty"`
}

// Binary is a program: a file that may be executed, or that is an ELF file.
type Binary struct {
	Path      string   `json:"path"`
	Size      int64    `json:"size"`
	OnDisk    int64    `json:"onDisk"`
	Static    bool     `json:"static"` // needs no dynamic loader
	Setuid    bool     `json:"setuid"` // or setgid
	GoVersion string   `json:"goVersion,omitempty"`
	Module    string   `json:"module,omitempty"`  // main Go module
	Modules   []Module `json:"modules,omitempty"` // Go modules that are linked in
}

// Module is a Go module.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

// Inspect reads the EFI file at path. The tools are those for its root.
func Inspect(ctx context.Context, path string, tools erofs.Tools) (*Report, error) {
	image, f, err := uki.Read(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := arch.OfMachine(image.Machine)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r := &Report{File: path, Size: image.Size, Arch: a.Name, Problems: []string{}, arch: a}
	if err := r.read(ctx, image, tools); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func (r *Report) read(ctx context.Context, image *uki.Image, tools erofs.Tools) error {
	initrd, err := image.Open(".initrd")
	if err != nil {
		return err
	}
	if err := r.readSections(image); err != nil {
		return err
	}
	return r.readInitrd(ctx, initrd, tools)
}

// sectionParts says what the sections are, for the list of sizes. All others
// are the stub's.
var sectionParts = map[string]string{
	".linux":   "kernel (.linux)",
	".osrel":   "os-release, command line and kernel version (.osrel .cmdline .uname)",
	".cmdline": "os-release, command line and kernel version (.osrel .cmdline .uname)",
	".uname":   "os-release, command line and kernel version (.osrel .cmdline .uname)",
}

func (r *Report) readSections(image *uki.Image) error {
	r.addPart("PE headers", image.Headers)
	for _, s := range image.Sections {
		r.Sections = append(r.Sections, Section{s.Name, s.Offset, s.Size, s.Stored, s.SHA256})
		r.addPart("padding of the sections", s.Stored-s.Size)
		if s.Name == ".initrd" {
			continue // its entries are listed one by one
		}
		name, ok := sectionParts[s.Name]
		if !ok {
			name = "systemd-stub (its code, .sbat and others)"
		}
		r.addPart(name, s.Size)
	}
	r.addPart("after the last section", image.Trailer)
	if err := readText(image, ".uname", &r.Kernel); err != nil {
		return err
	}
	return readText(image, ".cmdline", &r.Cmdline)
}

// addPart adds to the part with the name, which may be there already.
func (r *Report) addPart(name string, size int64) {
	for i := range r.Parts {
		if r.Parts[i].Name == name {
			r.Parts[i].Size += size
			return
		}
	}
	if size != 0 {
		r.Parts = append(r.Parts, Part{name, size})
	}
}

func readText(image *uki.Image, section string, to *string) error {
	s, err := image.Open(section)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(s, 1<<16))
	*to = string(data)
	return err
}

func (r *Report) readInitrd(ctx context.Context, initrd *io.SectionReader, tools erofs.Tools) error {
	entries, err := cpio.List(initrd, initrd.Size())
	if err != nil {
		return fmt.Errorf("section .initrd: %w", err)
	}
	titles, err := r.readImages(initrd, entries)
	if err != nil {
		return fmt.Errorf("section .initrd: %w", err)
	}
	var root *cpio.Entry
	rest := initrd.Size()
	for i, e := range entries {
		r.Initrd = append(r.Initrd, File{Path: "/" + e.Name, Mode: modeString(e.Mode), Size: e.Size, OnDisk: e.Stored})
		if e.Name == rootName {
			root = &entries[i]
		} else if e.Size > 0 {
			r.addPart(partOf(e.Name, titles), e.Size)
		}
		rest -= e.Size
	}
	r.addPart("initrd: headers and padding", rest)
	if root == nil {
		return fmt.Errorf("section .initrd: it has no %s, so this EFI file is not kiOS", rootName)
	}
	return r.readRoot(ctx, io.NewSectionReader(initrd, root.Offset, root.Size), tools)
}

// readRoot lists the EROFS image. The programs that do it want it in a file.
func (r *Report) readRoot(ctx context.Context, image *io.SectionReader, tools erofs.Tools) error {
	work, remove, err := cache.Scratch("inspect-")
	if err != nil {
		return err
	}
	defer remove()
	file := filepath.Join(work, rootName)
	if err := filetree.WriteFrom(file, image, 0o600); err != nil {
		return fmt.Errorf("unpack %s: %w", rootName, err)
	}
	dir := filepath.Join(work, "root")
	entries, err := erofs.List(ctx, file, dir, tools)
	if err != nil {
		return err
	}
	rest := image.Size()
	for _, e := range entries {
		rest -= e.OnDisk
	}
	if err := r.addEntries(entries, dir); err != nil {
		return err
	}
	r.addPart("root: file system metadata", rest)
	return nil
}

// addEntries adds what is in the root, extracted at dir.
func (r *Report) addEntries(entries []erofs.Entry, dir string) error {
	listed := r.readInventory(entries, dir)
	for _, e := range entries {
		info := listed[e.Path]
		f := File{e.Path, modeString(e.Mode), e.Size, e.OnDisk, info.Purpose, info.Upstream, info.Version, info.Licence}
		switch {
		case e.Mode.IsDir():
			r.Dirs = append(r.Dirs, f)
			r.addPart("root: directories and links", e.OnDisk)
			continue
		case e.Mode.Type() == fs.ModeSymlink:
			r.Links = append(r.Links, Link{e.Path, e.Target, info.Purpose})
			r.addPart("root: directories and links", e.OnDisk)
			continue
		}
		r.Files = append(r.Files, f)
		b, err := readBinary(e, filepath.Join(dir, e.Path))
		if err != nil {
			return fmt.Errorf("read %s: %w", e.Path, err)
		}
		if b == nil {
			r.addPart("root: other files", e.OnDisk)
			continue
		}
		r.Binaries = append(r.Binaries, *b)
		r.checkMachine(e.Path, filepath.Join(dir, e.Path))
		r.addPart("root: "+e.Path, e.OnDisk)
	}
	return nil
}

// readInventory returns the root's own list by path, and notes as problems
// where it differs from the root.
func (r *Report) readInventory(entries []erofs.Entry, dir string) map[string]inventory.File {
	m := &inventory.Manifest{}
	data, err := os.ReadFile(filepath.Join(dir, inventory.Path))
	if err == nil {
		m, err = inventory.Parse(data)
	}
	if err != nil {
		r.Problems = append(r.Problems, fmt.Sprintf("the root's list of files cannot be read: %s: %v", inventory.Path, errors.Unwrap(err)))
		return nil
	}
	var paths []string
	for _, e := range entries {
		if !e.Mode.IsDir() {
			paths = append(paths, e.Path)
		}
	}
	if err := inventory.Check(paths, m); err != nil {
		r.Problems = append(r.Problems, lines(err)...)
	}
	r.Version, r.Processes = m.Version, m.Processes
	byPath := map[string]inventory.File{}
	for _, f := range m.Files {
		byPath[f.Path] = f
	}
	return byPath
}
