package inspect

import (
	"cmp"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"kios/host/erofs"
)

const elfMagic = "\x7fELF"

// readBinary returns what can be told about a program, or nil for a file that
// is none. The file at path has the entry's contents.
func readBinary(e erofs.Entry, path string) (*Binary, error) {
	isELF, err := hasMagic(path, elfMagic)
	if err != nil {
		return nil, err
	}
	if !isELF && e.Mode&0o111 == 0 {
		return nil, nil
	}
	b := &Binary{Path: e.Path, Size: e.Size, OnDisk: e.OnDisk, Setuid: e.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0}
	if !isELF {
		return b, nil
	}
	if b.Static, err = isStatic(path); err != nil {
		return nil, err
	}
	b.readGo(path)
	return b, nil
}

func hasMagic(path, magic string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(f, head); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return false, err
	}
	return string(head) == magic, nil
}

// isStatic says whether an ELF file asks for no dynamic loader and no
// libraries. A static position-independent program has neither.
func isStatic(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false, nil
		}
	}
	libs, err := f.ImportedLibraries()
	return len(libs) == 0 && err == nil, nil
}

// checkMachine notes a program that does not run where the EFI file does.
func (r *Report) checkMachine(path, file string) {
	f, err := elf.Open(file)
	if err != nil {
		return // a script
	}
	defer f.Close()
	if f.Machine != r.arch.ELF {
		r.Problems = append(r.Problems, fmt.Sprintf("%s is a program for %v, and the EFI file is for %s", path, f.Machine, r.Arch))
	}
}

// readGo adds what Go's linker wrote into the file; a program in another
// language has none of it.
func (b *Binary) readGo(path string) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return
	}
	b.GoVersion, b.Module = info.GoVersion, info.Main.Path
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		b.Modules = append(b.Modules, Module{m.Path, m.Version})
	}
}

// kinds are the letters that ls puts before a mode, by the bits of the type.
var kinds = map[fs.FileMode]string{
	fs.ModeDir:                        "d",
	fs.ModeSymlink:                    "l",
	fs.ModeDevice | fs.ModeCharDevice: "c",
	fs.ModeDevice:                     "b",
	fs.ModeNamedPipe:                  "p",
	fs.ModeSocket:                     "s",
}

// special are the bits that ls shows in the place of an x: in lower case if that
// is set, too.
var special = []struct {
	bit fs.FileMode
	at  int
	x   byte
	no  byte
}{{fs.ModeSetuid, 3, 's', 'S'}, {fs.ModeSetgid, 6, 's', 'S'}, {fs.ModeSticky, 9, 't', 'T'}}

// modeString prints a mode as ls does.
func modeString(m fs.FileMode) string {
	s := []byte(cmp.Or(kinds[m.Type()], "-") + m.Perm().String()[1:])
	for _, b := range special {
		switch {
		case m&b.bit == 0:
		case s[b.at] == 'x':
			s[b.at] = b.x
		default:
			s[b.at] = b.no
		}
	}
	return string(s)
}

// lines splits joined errors.
func lines(err error) []string { return strings.Split(err.Error(), "\n") }

// Check returns an error that counts the report's problems, or nil.
func (r *Report) Check() error {
	switch len(r.Problems) {
	case 0:
		return nil
	case 1:
		return errors.New(r.Problems[0])
	}
	return fmt.Errorf("%d problems, the first: %s", len(r.Problems), r.Problems[0])
}
