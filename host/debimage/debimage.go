// Package debimage picks files out of unpacked Debian packages, together with
// the shared libraries that they need, for an image that holds a C program and
// nothing else: no shell, no package manager, no documentation.
//
// Libraries are found the way ld.so(8) does: by the DT_NEEDED entries of each
// ELF file, in its DT_RUNPATH and in the directories that Debian's ld.so
// searches by default. What a program opens at run time (dlopen) cannot be seen
// there; a recipe must name it. Paths are those of merged /usr, as in Debian 12
// and later. Packages are unpacked by package debian, the image is written by
// package oci.
package debimage

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kios/host/arch"
	"kios/host/oci"
)

// libDirs is where Debian's ld.so searches, with /usr merged.
func libDirs(a arch.Arch) []string { return []string{"usr/lib/" + a.Triplet, "usr/lib"} }

// merged are the top directories that are links into /usr.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// Collect returns the files at the wanted paths, and every shared library and
// interpreter that they need, sorted by path. Each of trees is a directory with
// an unpacked package; if two have the same file, the first one's is taken. A
// symbolic link becomes a copy of what it leads to, so that a library is there
// under the name that programs ask for. A wanted path that is in no tree, and a
// library that is in none, is an error that names it. The packages are for the
// architecture.
func Collect(a arch.Arch, trees []string, wanted []string) ([]oci.File, error) {
	c := collection{libDirs: libDirs(a), trees: trees, files: map[string]oci.File{}}
	for _, name := range wanted {
		if err := c.add(canonical(name)); err != nil {
			return nil, err
		}
	}
	var files []oci.File
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		files = append(files, c.files[name])
	}
	return files, nil
}

type collection struct {
	libDirs []string
	trees   []string
	files   map[string]oci.File // by path
}

// canonical returns the path without a leading slash, and below usr if that is
// where it really is.
func canonical(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	top, _, _ := strings.Cut(name, "/")
	if slices.Contains(merged, top) {
		return "usr/" + name
	}
	return name
}

// add takes in the file at name and what it needs.
func (c *collection) add(name string) error {
	if _, there := c.files[name]; there {
		return nil
	}
	from, err := c.resolve(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("/%s is not a file (list the files in it one by one)", name)
	}
	// Nothing here is for set-user-ID, and nobody but root may write.
	c.files[name] = oci.File{Path: name, Mode: info.Mode().Perm() &^ 0o022, From: from}
	return c.addNeeds(name, from)
}

// resolve returns the file in one of the trees that name is, or leads to by
// links.
func (c *collection) resolve(name string) (string, error) {
	at := name
	for range 16 {
		found, err := c.lookup(at)
		if err != nil {
			return "", err
		}
		if found == "" && at == name {
			return "", fmt.Errorf("/%s: %w in any of the packages", name, fs.ErrNotExist)
		}
		if found == "" {
			return "", fmt.Errorf("/%s leads to /%s: %w in any of the packages", name, at, fs.ErrNotExist)
		}
		target, err := os.Readlink(found)
		if err != nil {
			return found, nil // no link
		}
		if !path.IsAbs(target) {
			target = path.Join("/", path.Dir(at), target)
		}
		at = canonical(target)
	}
	return "", fmt.Errorf("/%s: too many links", name)
}

// lookup returns where name is, "" if nowhere.
func (c *collection) lookup(name string) (string, error) {
	for _, tree := range c.trees {
		at := filepath.Join(tree, name)
		_, err := os.Lstat(at)
		if err == nil {
			return at, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

// addNeeds takes in the libraries and the interpreter of the file called name,
// which is at from.
func (c *collection) addNeeds(name, from string) error {
	e, err := open(from)
	if err != nil {
		return fmt.Errorf("read /%s: %w", name, err)
	}
	if e == nil {
		return nil // a configuration file, a script
	}
	interpreter := ""
	if e.interpreter != "" {
		interpreter = canonical(e.interpreter)
		if err := c.add(interpreter); err != nil {
			return fmt.Errorf("the interpreter of /%s: %w", name, err)
		}
		c.linkTop(e.interpreter)
	}
	for _, library := range e.needed {
		if strings.HasPrefix(library, "ld-linux") {
			continue // it is the interpreter, which is there by its own path
		}
		at, err := c.findLibrary(library, append(e.searchPath(name), c.libDirs...))
		if err != nil {
			return err
		}
		if at == "" {
			return fmt.Errorf("/%s needs the library %s, which is in none of the packages: add the package that has it (find it with dpkg -S or on packages.debian.org)", name, library)
		}
		if err := c.add(at); err != nil {
			return err
		}
	}
	return nil
}

// linkTop adds the link at the top that an interpreter's path goes through.
func (c *collection) linkTop(interpreter string) {
	top, _, _ := strings.Cut(strings.TrimPrefix(interpreter, "/"), "/")
	if slices.Contains(merged, top) {
		c.files[top] = oci.File{Path: top, Mode: fs.ModeSymlink | 0o777, Data: []byte("usr/" + top)}
	}
}

// findLibrary returns the path of a library, "" if there is none.
func (c *collection) findLibrary(library string, dirs []string) (string, error) {
	for _, dir := range dirs {
		name := canonical(path.Join(dir, library))
		found, err := c.lookup(name)
		if err != nil || found != "" {
			return name, err
		}
	}
	return "", nil
}

// binary is what matters here of an ELF file.
type binary struct {
	interpreter string
	needed      []string
	runpath     []string
}

// open returns nil for a file that is not ELF.
func open(file string) (*binary, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var magic [4]byte
	if n, _ := f.ReadAt(magic[:], 0); n < len(magic) || string(magic[:]) != elf.ELFMAG {
		return nil, nil
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return nil, err
	}
	return read(e)
}

func read(e *elf.File) (*binary, error) {
	var b binary
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		data := make([]byte, p.Filesz)
		if _, err := p.ReadAt(data, 0); err != nil {
			return nil, err
		}
		b.interpreter = strings.TrimRight(string(data), "\x00")
	}
	var err error
	if b.needed, err = e.ImportedLibraries(); err != nil {
		return nil, err
	}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		values, err := e.DynString(tag)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			b.runpath = append(b.runpath, strings.Split(v, ":")...)
		}
	}
	return &b, nil
}

// searchPath returns the directories where ld.so looks first for what the file called
// name needs.
func (b *binary) searchPath(name string) []string {
	var dirs []string
	origin := path.Join("/", path.Dir(name))
	for _, dir := range b.runpath {
		dir = strings.ReplaceAll(dir, "${ORIGIN}", origin)
		dirs = append(dirs, strings.ReplaceAll(dir, "$ORIGIN", origin))
	}
	return dirs
}
