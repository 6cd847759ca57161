package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kios/host/arch"
	"kios/host/build"
	"kios/host/cache"
	"kios/host/filetree"
	"kios/host/hosttool"
)

// products are the files that two builds must agree on.
var products = []string{"vmlinuz", "rootfs.erofs", "initrd", "cmdline", "hello.tar", "kios.efi"}

func newReproduceCommand() *cobra.Command {
	var fromScratch bool
	var a *archValue
	cmd := &cobra.Command{
		Use:   "reproduce",
		Short: "Build a second time, in another directory, and compare",
		Long: `Copies the checkout to another directory, builds it there with a cache of its own,
and compares the products with those in _out/<arch>, byte for byte.

The second build takes the kernel and compiled Go packages from the first one,
unless --from-scratch is given. Its own products are cached too, so unchanged
sources are built a second time only once.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := checkout(a.Arch)
			if err != nil {
				return err
			}
			return reproduce(cmd.Context(), b, fromScratch)
		},
	}
	a = archFlag(cmd, "architecture whose build is to be compared")
	cmd.Flags().BoolVar(&fromScratch, "from-scratch", false, "share nothing: also build the kernel and every Go package a second time")
	return cmd
}

func reproduce(ctx context.Context, b *build.Builder, fromScratch bool) error {
	dir, remove, err := cache.Scratch("second-build-")
	if err != nil {
		return err
	}
	defer remove()
	if err := copyCheckout(ctx, b.Root, dir); err != nil {
		return fmt.Errorf("copy the checkout: %w", err)
	}
	home, err := secondCache(b.Arch, fromScratch)
	if err != nil {
		return err
	}
	goCache, err := secondGoCache(ctx, home, fromScratch)
	if err != nil {
		return err
	}
	cmd := hosttool.Exec(ctx, "go", "run", "./host/kios", "build", "--arch", b.Arch.Name)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+home, "GOCACHE="+goCache)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build the second time: %w", err)
	}
	return compare(b.Out(""), filepath.Join(dir, "_out", b.Arch.Name))
}

// copyCheckout copies the files that git tracks, and those that it would.
func copyCheckout(ctx context.Context, root, dir string) error {
	list := hosttool.Exec(ctx, "git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	names, err := list.Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		err := copyEntry(ctx, filepath.Join(dir, name), filepath.Join(root, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // removed, and not committed yet
			return err
		}
	}
	return nil
}

// copyEntry copies a file, or a link as it is: what it leads to may be on a node only.
func copyEntry(ctx context.Context, to, from string) error {
	st, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if st.Mode()&fs.ModeSymlink == 0 {
		return filetree.CopyFile(ctx, to, from, st.Mode())
	}
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	return filetree.Symlink(to, target)
}

// secondCache returns a cache home for the second build. The Debian packages
// are shared, since they are inputs; the kernel is too, unless it is to be built.
func secondCache(a arch.Arch, fromScratch bool) (string, error) {
	first, err := cache.Dir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(first, "second")
	// Those for all architectures, those of the node, and tools of this machine.
	shared := []string{"debs", a.Product("debs"), arch.Host().Product("debs"), a.Product("apt")}
	if fromScratch {
		home = filepath.Join(first, "second-from-scratch")
	} else {
		kernels, err := filepath.Glob(filepath.Join(first, a.Product("kernel")+"-*"))
		if err != nil {
			return "", err
		}
		for _, k := range kernels {
			shared = append(shared, filepath.Base(k))
		}
	}
	if err := os.MkdirAll(filepath.Join(home, "kios"), 0o755); err != nil {
		return "", err
	}
	for _, name := range shared {
		link := filepath.Join(home, "kios", name)
		if err := os.Symlink(filepath.Join(first, name), link); err != nil && !os.IsExist(err) {
			return "", err
		}
	}
	return home, nil
}

// secondGoCache returns Go's build cache for the second build. Packages in the first
// build's are used again if their directory has no part in what they become: Go
// makes it part of the key without -trimpath. That spares a fresh machine ten minutes
// of compiling the same once more.
func secondGoCache(ctx context.Context, home string, fromScratch bool) (string, error) {
	if fromScratch {
		return filepath.Join(home, "go-build"), nil
	}
	out, err := hosttool.Exec(ctx, "go", "env", "GOCACHE").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOCACHE: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// compare compares the products of two builds, all of them before it fails.
func compare(first, second string) error {
	var differ []string
	for _, name := range products {
		a, err := cache.FileSum(filepath.Join(first, name))
		if err != nil {
			return err
		}
		b, err := cache.FileSum(filepath.Join(second, name))
		if err != nil {
			return err
		}
		verdict := "same"
		if a != b {
			verdict = "DIFFERS"
			differ = append(differ, name)
		}
		fmt.Printf("%-12s %s  %s\n", name, a, verdict)
	}
	if differ != nil {
		return fmt.Errorf("two builds of the same sources differ: %s", strings.Join(differ, ", "))
	}
	return nil
}
