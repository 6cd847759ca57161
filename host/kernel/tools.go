package kernel

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"kios/host/hosttool"
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
	{tool: "openssl", pkg: "openssl"},
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
			if _, err := hosttool.Find(n.tool); err != nil {
				missing = append(missing, n.pkg)
			}
		} else if _, err := os.Stat("/usr/include/" + n.header); err != nil {
			missing = append(missing, n.pkg)
		}
	}
	return missingError(missing)
}

// versions identifies the tools that the product depends on: compiler, assembler and
// linker by what they say, the compressor of the kernel and the maker of the modules'
// index by their contents, and the library that signs modules.
func versions(ctx context.Context, opts []option) ([]string, error) {
	tools := []string{"gcc", "as", "ld", "openssl"}
	if wantsBTF(opts) {
		tools = append(tools, "pahole")
	}
	var parts []string
	for _, tool := range tools {
		flag := "--version"
		if tool == "openssl" {
			flag = "version"
		}
		out, err := hosttool.Exec(ctx, tool, flag).Output()
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", tool, flag, err)
		}
		parts = append(parts, string(out))
	}
	for _, tool := range []string{"zstd", "depmod"} {
		sum, err := hosttool.Fingerprint(tool)
		if err != nil {
			return nil, err
		}
		parts = append(parts, sum)
	}
	return parts, nil
}

func missingError(pkgs []string) error {
	if len(pkgs) == 0 {
		return nil
	}
	list := strings.Join(pkgs, " ")
	return fmt.Errorf("build kernel: tools are missing (apt-get install %s)", list)
}
