// Package apparmor loads AppArmor profiles that are compiled already, as
// "apparmor_parser --ofile" writes them: see the kernel's
// Documentation/admin-guide/LSM/apparmor.rst. It leaves out compiling: text is refused.
package apparmor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"kios/internal/userfile"
)

// Bounds of what is loaded. Profiles are some 10 KB each.
const (
	maxFiles = 256
	maxSize  = 4 << 20
)

// magic begins a compiled profile: the name of its first field.
var magic = []byte("\x04\x08\x00version\x00")

// Kernel is the file to which profiles are written. It replaces one of the same name.
const Kernel = "/sys/kernel/security/apparmor/.replace"

// LoadDir loads the profiles in a directory, which may not exist, into the kernel file,
// in the order of their names. A bad one costs only itself: the errors name the files.
func LoadDir(kernel, dir string) []error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return []error{err}
	}
	var errs []error
	var text []string
	for i, e := range entries {
		if i == maxFiles {
			errs = append(errs, fmt.Errorf("%s has more than %d files: the others are not loaded", dir, maxFiles))
			break
		}
		if e.IsDir() {
			continue // AppArmor's own packages have text in some
		}
		switch err := load(kernel, filepath.Join(dir, e.Name())); {
		case errors.Is(err, errText):
			text = append(text, e.Name())
		case err != nil:
			errs = append(errs, fmt.Errorf("AppArmor profile %s is not loaded: %w", filepath.Join(dir, e.Name()), err))
		}
	}
	return append(errs, textError(dir, text)...)
}

// errText says that a profile is not compiled.
var errText = errors.New("it is not compiled")

// textError makes one error for all files of text: the directory of another system has
// many.
func textError(dir string, names []string) []error {
	if len(names) == 0 {
		return nil
	}
	return []error{fmt.Errorf("%d files in %s are not loaded, such as %s: %w: compile profiles elsewhere with apparmor_parser --skip-kernel-load --ofile=FILE",
		len(names), dir, names[0], errText)}
}

func load(kernel, path string) error {
	profile, err := userfile.Read(path, maxSize)
	if err != nil {
		return userfile.Reason(err) // the message has the path already
	}
	if !bytes.HasPrefix(profile, magic) {
		return errText
	}
	f, err := os.OpenFile(kernel, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// The kernel takes a profile in one piece.
	if _, err := unix.Write(int(f.Fd()), profile); err != nil {
		return fmt.Errorf("the kernel refuses it: %w: it is damaged, or compiled for another kernel: give apparmor_parser the features of this one", err)
	}
	return nil
}

// Parser answers in the name of apparmor_parser. containerd takes that program as the
// sign that AppArmor can be used, and runs it only if its profile has not been loaded.
func Parser(_ []string, _, stderr io.Writer) int {
	fmt.Fprintln(stderr, "apparmor_parser: a node loads compiled profiles only, from /etc/apparmor.d, when it boots: see why that failed in kernel.log")
	return 1
}
