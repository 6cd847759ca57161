// Package apparmor compiles AppArmor profiles into the form that a kernel loads, with
// apparmor_parser(8), since a node has no parser.
//
// What a profile mediates is decided by the list of features that it is compiled with,
// and not by the build machine's kernel. The list here is what the kernel of kiOS (Linux
// 6.12, security/apparmor/apparmorfs.c) and the AppArmor 3.0 ABI have in common, which
// containerd asks for in its own profile. With all that the kernel has, that profile
// would forbid user namespaces and io_uring, because it says nothing of them.
package apparmor

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"

	"kios/host/cache"
	"kios/host/hosttool"
)

//go:embed features
var features []byte

// Compile returns the binary form of a profile that includes no files. The same text
// always gives the same bytes.
func Compile(ctx context.Context, text []byte) ([]byte, error) {
	dir, remove, err := cache.Scratch("apparmor-")
	if err != nil {
		return nil, err
	}
	defer remove()
	list, source, binary := filepath.Join(dir, "features"), filepath.Join(dir, "profile"), filepath.Join(dir, "binary")
	if err := os.WriteFile(list, features, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(source, text, 0o600); err != nil {
		return nil, err
	}
	_, err = hosttool.Run(ctx, "apparmor_parser",
		"--config-file=/dev/null", "--base="+dir, // nothing of the build machine
		"--skip-kernel-load", "--skip-cache", "--kernel-features="+list, "--policy-features="+list,
		"--ofile="+binary, source)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(binary)
}
