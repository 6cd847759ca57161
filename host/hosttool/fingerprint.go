package hosttool

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// libraryDirs is where Debian, Ubuntu and Fedora keep shared libraries.
var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

// Fingerprint identifies a program by its contents and those of the libraries that
// it names, for products that depend on what it writes. A version is not enough: the
// bytes that a compressor writes are its library's.
func Fingerprint(name string) (string, error) {
	path, err := Find(name)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, file := range append([]string{path}, libraries(path)...) {
		if err := addFile(sum, file); err != nil {
			return "", fmt.Errorf("identify %s: %w", name, err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// libraries returns the paths of the shared libraries that a program names, sorted. A
// script has none.
func libraries(path string) []string {
	f, err := elf.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, err := f.ImportedLibraries()
	if err != nil {
		return nil
	}
	slices.Sort(names)
	var paths []string
	for _, name := range names {
		if i := slices.IndexFunc(libraryDirs, func(dir string) bool { return exists(filepath.Join(dir, name)) }); i >= 0 {
			paths = append(paths, filepath.Join(libraryDirs[i], name))
		}
	}
	return paths
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func addFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}
