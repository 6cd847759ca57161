package qemu

import (
	"context"
	"fmt"
	"path/filepath"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/debian"
	"kios/host/filetree"
	"kios/host/progress"
)

// UserPackage is Debian's package with the programs that run those of all architectures.
const UserPackage = "qemu-user"

// User gets the QEMU that runs programs of another architecture on this host, and returns
// its path. It is static, so that it works in a root directory of other programs, and is
// called with the program and its arguments: nothing is registered with the host's kernel
// (binfmt_misc), which would be so for all of the host. The version is that of Debian's
// package.
func User(ctx context.Context, log *progress.Log, a arch.Arch, suites []string, version string) (string, error) {
	dir, err := cache.Product(ctx, log, a.Product(UserPackage), cache.NewKey(UserPackage, "2", arch.Host().Name, version), func(dir string) error {
		tmp, remove, err := cache.Scratch(UserPackage + "-")
		if err != nil {
			return err
		}
		defer remove()
		pkg := debian.Package{Name: UserPackage, Version: version}
		if err := debian.UnpackAlone(ctx, log, arch.Host(), withBackports(suites), pkg, tmp); err != nil {
			return err
		}
		return filetree.CopyFile(ctx, filepath.Join(dir, a.UserBinary), filepath.Join(tmp, "usr/bin", a.UserBinary), 0o755)
	})
	if err != nil {
		return "", fmt.Errorf("get what runs programs of %s on this host: %w", a.Name, err)
	}
	return filepath.Join(dir, a.UserBinary), nil
}
