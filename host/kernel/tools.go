package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// needs lists what the kernel's build calls or includes, and the Debian
// package that has it.
var needs = []struct{ tool, header, pkg string }{
	{tool: "make", pkg: "make"},
	{tool: "gcc", pkg: "gcc"},
	{tool: "ld", pkg: "binutils"},
	{tool: "flex", pkg: "flex"},
	{tool: "bison", pkg: "bison"},
	{tool: "bc", pkg: "bc"},
	{tool: "perl", pkg: "perl"},
	{tool: "tar", pkg: "tar"},
	{tool: "xz", pkg: "xz-utils"},
	{tool: "zstd", pkg: "zstd"},
	{tool: "depmod", pkg: "kmod"},
	{header: "stdio.h", pkg: "libc6-dev"},        // host programs
	{header: "libelf.h", pkg: "libelf-dev"},      // objtool
	{header: "openssl/evp.h", pkg: "libssl-dev"}, // module signatures
}

// checkTools returns an error that says how to install what is missing.
func checkTools(opts []option) error {
	var missing []string
	if _, err := exec.LookPath("pahole"); err != nil && wantsBTF(opts) {
		missing = append(missing, "dwarves")
	}
	for _, n := range needs {
		if n.tool != "" {
			if _, err := exec.LookPath(n.tool); err != nil {
				missing = append(missing, n.pkg)
			}
		} else if _, err := os.Stat("/usr/include/" + n.header); err != nil {
			missing = append(missing, n.pkg)
		}
	}
	return missingError(missing)
}

func missingError(pkgs []string) error {
	if len(pkgs) == 0 {
		return nil
	}
	list := strings.Join(pkgs, " ")
	return fmt.Errorf("build kernel: tools are missing (apt-get install %s)", list)
}
