// Nft runs Debian's nft on a kiOS node, for the CNI plugin portmap. The node has
// neither nft nor the C library, and programs with an interpreter that is not
// there do not start: so this static program calls the interpreter by name, and
// with it, from a directory beside itself (ld.so(8)).
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

func main() {
	fmt.Fprintln(os.Stderr, "nft:", run())
	os.Exit(127)
}

// run returns only if nft cannot be started.
func run() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args, err := argv(filepath.Join(filepath.Dir(self), ".nft"))
	if err != nil {
		return err
	}
	return syscall.Exec(args[0], append(args, os.Args[1:]...), os.Environ())
}

// argv starts the nft in dir with the interpreter and the libraries in dir, and
// with no other: a wrong version would be worse than none.
func argv(dir string) ([]string, error) {
	interpreter, err := interpreter(dir)
	if err != nil {
		return nil, err
	}
	return []string{
		filepath.Join(dir, interpreter),
		"--inhibit-cache", "--library-path", dir,
		"--argv0", "nft",
		filepath.Join(dir, "nft"),
	}, nil
}

// interpreter returns the name of the interpreter in dir, which each processor has
// another one for: ld-linux-x86-64.so.2, ld-linux-aarch64.so.1.
func interpreter(dir string) (string, error) {
	const pattern = "ld-linux*.so.*"
	names, err := fs.Glob(os.DirFS(dir), pattern)
	if err == nil && len(names) != 1 {
		err = fmt.Errorf("%s has %d files %s, want 1: start flannel's pod on this node again, which puts it there", dir, len(names), pattern)
	}
	if err != nil {
		return "", err
	}
	return names[0], nil
}
