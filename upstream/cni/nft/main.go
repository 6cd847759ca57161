// Nft runs Debian's nft on a kiOS node, for the CNI plugin portmap. The node has
// neither nft nor the C library, and programs with an interpreter that is not
// there do not start: so this static program calls the interpreter by name, and
// with it, from a directory beside itself (ld.so(8)).
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

func main() {
	self, err := os.Executable()
	if err == nil {
		dir := filepath.Join(filepath.Dir(self), ".nft")
		err = syscall.Exec(argv(dir)[0], append(argv(dir), os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "nft:", err)
	os.Exit(127)
}

// argv starts the nft in dir with the interpreter and the libraries in dir, and
// with no other: a wrong version would be worse than none.
func argv(dir string) []string {
	return []string{
		filepath.Join(dir, "ld-linux-x86-64.so.2"),
		"--inhibit-cache", "--library-path", dir,
		"--argv0", "nft",
		filepath.Join(dir, "nft"),
	}
}
