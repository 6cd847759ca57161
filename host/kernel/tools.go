package kernel

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"kios/host/arch"
	"kios/host/hosttool"
)

// needs lists what the kernel's build calls or includes on every architecture, and the
// Debian package that has it. gcc and ld are the host's: parts of the build are programs.
var needs = []arch.Need{
	{Tool: "make", Package: "make"},
	{Tool: "gcc", Package: "gcc"},
	{Tool: "ld", Package: "binutils"},
	{Tool: "flex", Package: "flex"},
	{Tool: "bison", Package: "bison"},
	{Tool: "bc", Package: "bc"},
	{Tool: "perl", Package: "perl"},
	{Tool: "tar", Package: "tar"},
	{Tool: "xz", Package: "xz-utils"},
	{Tool: "zstd", Package: "zstd"},
	{Tool: "openssl", Package: "openssl"},
	{Tool: "depmod", Package: "kmod"},
	{Header: "stdio.h", Package: "libc6-dev"},        // host programs
	{Header: "openssl/evp.h", Package: "libssl-dev"}, // module signatures
}

// checkTools returns an error that says how to install what is missing.
func checkTools(a arch.Arch, opts []option) error {
	var missing []string
	if _, err := exec.LookPath("pahole"); err != nil && wantsBTF(opts) {
		missing = append(missing, "dwarves")
	}
	if !isThere(arch.Need{Tool: a.Tool("gcc")}) || !isThere(arch.Need{Tool: a.Tool("ld")}) {
		missing = append(missing, a.ToolPackages()...)
	}
	for _, n := range slices.Concat(needs, a.Kernel.Needs) {
		if !isThere(n) {
			missing = append(missing, n.Package)
		}
	}
	return missingError(missing)
}

func isThere(n arch.Need) bool {
	var err error
	if n.Tool != "" {
		_, err = hosttool.Find(n.Tool)
	} else {
		_, err = os.Stat("/usr/include/" + n.Header)
	}
	return err == nil
}

// versions identifies the tools that the product depends on: compiler, assembler and
// linker by what they say, the compressor of the kernel and the maker of the modules'
// index by their contents, and the library that signs modules.
func versions(ctx context.Context, a arch.Arch, opts []option) ([]string, error) {
	tools := []string{a.Tool("gcc"), a.Tool("as"), a.Tool("ld"), "openssl"}
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
	slices.Sort(pkgs)
	list := strings.Join(slices.Compact(pkgs), " ")
	return fmt.Errorf("build kernel: tools are missing (apt-get install %s)", list)
}
