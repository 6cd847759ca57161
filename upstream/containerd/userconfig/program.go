package userconfig

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kios/upstream/containerd/regular"
)

// fault says why a program of a runtime does not run, or "". Without a slash, it is looked
// for where containerd does.
func (c *checker) fault(name string) string {
	paths := []string{name}
	if !strings.Contains(name, "/") {
		paths = nil
		for _, dir := range filepath.SplitList(Path) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	var err error = fs.ErrNotExist
	for _, path := range paths {
		if c.Elsewhere && slices.Contains(programs, path) {
			return ""
		}
		if name == "" || !c.exists(path) {
			continue
		}
		if err = executable(path, maxInterpreters); err == nil {
			return ""
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return name + " is not on the node"
	}
	return fmt.Sprintf("%s cannot be executed: %s", name, oneLine(err))
}

// maxInterpreters is how many programs the kernel starts one for the other.
const maxInterpreters = 4

// executable looks at what execve(2) looks at.
func executable(path string, depth int) error {
	f, err := regular.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := mayExecute(f); err != nil {
		return err
	}
	interpreter, err := interpreterOf(f)
	switch {
	case err != nil || interpreter == "":
		return err
	case depth == 0:
		return errors.New("it has too many interpreters")
	}
	if err := executable(interpreter, depth-1); err != nil {
		return fmt.Errorf("it needs %s: %s", interpreter, reasonOf(err))
	}
	return nil
}

// reasonOf is an error without its path, which is named before it, and that is not the
// one of the program itself.
func reasonOf(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "that is not on the node"
	}
	return err.Error()
}

func mayExecute(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var st unix.Statfs_t
	switch err := unix.Fstatfs(int(f.Fd()), &st); {
	case err != nil:
		return err
	case st.Flags&unix.ST_NOEXEC != 0:
		return errors.New("it is on a file system that is mounted noexec")
	case info.Mode()&0o111 == 0:
		return errors.New("its mode has no x")
	}
	return nil
}

// interpreterOf returns the program that starts another one: that of a script, or the
// loader of one that is linked dynamically.
func interpreterOf(f *os.File) (string, error) {
	head := make([]byte, 256) // as much as the kernel looks at
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		line, _, _ := strings.Cut(string(head[2:]), "\n")
		words := strings.Fields(line)
		if len(words) == 0 {
			return "", errors.New("it is a script without an interpreter")
		}
		return words[0], nil
	case bytes.HasPrefix(head, []byte("\x7fELF")) && n >= elfHeader && bytes.Equal(head[4:6], []byte{2, 1}): // 64 bits, little-endian
		return loaderOf(f, head)
	}
	return "", errors.New("it is no program of this machine")
}

// Sizes in an ELF file of 64 bits, in bytes, the type of the entry that names the loader,
// and where the header has the machine: elf(5).
const (
	elfHeader, elfEntry, elfMachine = 64, 56, 18

	elfInterpreter = 3
	maxElfEntries  = 256
)

// loaderOf returns the loader of an ELF program, or "" if it is linked statically.
func loaderOf(f *os.File, head []byte) (string, error) {
	order := binary.LittleEndian
	if own := ownMachine(); own != 0 && order.Uint16(head[elfMachine:]) != own {
		return "", errors.New("it is for another kind of processor")
	}
	table, count := int64(order.Uint64(head[32:])), int(order.Uint16(head[56:]))
	for i := range min(count, maxElfEntries) {
		var entry [elfEntry]byte
		if _, err := f.ReadAt(entry[:], table+int64(i*elfEntry)); err != nil {
			return "", errors.New("it is cut off")
		}
		if order.Uint32(entry[:]) != elfInterpreter {
			continue
		}
		path := make([]byte, min(order.Uint64(entry[32:]), unix.PathMax))
		if _, err := f.ReadAt(path, int64(order.Uint64(entry[8:]))); err != nil {
			return "", errors.New("it is cut off")
		}
		return string(bytes.TrimRight(path, "\x00")), nil
	}
	return "", nil
}

// ownMachine is the kind of processor that this program is for, 0 if that is not known.
func ownMachine() uint16 {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return 0
	}
	defer f.Close()
	var head [elfHeader]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return 0
	}
	return binary.LittleEndian.Uint16(head[elfMachine:])
}
