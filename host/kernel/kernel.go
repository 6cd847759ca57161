// Package kernel builds the kernel from Debian's source package and our
// configuration fragments.
//
// The configuration starts from `make tinyconfig`, so it holds what the
// fragments name, what that selects, and nothing else. The build fails if a
// requested option is not in the result. Products are cached by a hash of the
// source, the options (not their comments) and the tools.
//
// The result depends on neither time, host, user nor path: see
// Documentation/kbuild/reproducible-builds.rst in the kernel's source.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/debian"
	"kios/host/progress"
)

// recipe is part of the cache's key: count it up when the way of building
// changes the product.
const recipe = "2"

// Product is a built kernel: files in a directory of the cache.
type Product struct {
	Dir       string
	Vmlinuz   string // the bzImage, an EFI program too
	SystemMap string // addresses of the kernel's functions, for debugging
	Config    string // the complete configuration
	Release   string // what `uname -r` prints
	Modules   string // directory to be /lib/modules, or "" if nothing is a module
}

// Build returns the kernel for an architecture made of the source package src and the fragments
// (*.config) in the directory fragments, building it unless the cache has it.
// Its modules are signed with the key at keyPath, which is made if need be.
func Build(ctx context.Context, log *progress.Log, a arch.Arch, src debian.Deb, fragments, keyPath string) (Product, error) {
	opts, err := readFragments(fragments)
	if err != nil {
		return Product{}, err
	}
	if err := checkTools(opts); err != nil {
		return Product{}, err
	}
	signingKey, err := readKey(keyPath)
	if err != nil {
		return Product{}, err
	}
	key, err := productKey(ctx, src, opts, signingKey)
	if err != nil {
		return Product{}, err
	}
	dir, err := cache.Product(ctx, log, a.Product("kernel"), key, func(dir string) error {
		return build(ctx, log, src, opts, signingKey, dir)
	})
	if err != nil {
		return Product{}, fmt.Errorf("build kernel: %w", err)
	}
	return open(dir)
}

func open(dir string) (Product, error) {
	release, err := os.ReadFile(filepath.Join(dir, "kernel.release"))
	if err != nil {
		return Product{}, err
	}
	p := Product{
		Dir:       dir,
		Vmlinuz:   filepath.Join(dir, "vmlinuz"),
		SystemMap: filepath.Join(dir, "System.map"),
		Config:    filepath.Join(dir, "config"),
		Release:   strings.TrimSpace(string(release)),
	}
	modules := filepath.Join(dir, "modules", "lib", "modules")
	if _, err := os.Stat(modules); err == nil {
		p.Modules = modules
	}
	return p, nil
}

// productKey hashes all that decides the product. The source is the package's
// contents, whatever its name says.
func productKey(ctx context.Context, src debian.Deb, opts []option, signingKey []byte) (*cache.Key, error) {
	sum, err := cache.FileSum(src.Path)
	if err != nil {
		return nil, err
	}
	tools, err := versions(ctx, opts)
	if err != nil {
		return nil, err
	}
	parts := []string{recipe, src.Version, sum, render(opts), keySum(signingKey)}
	return cache.NewKey(append(parts, tools...)...), nil
}

// build makes the product in out. The sources are unpacked there too, where the
// space is that they need (about 4 GB), and removed again. So is the private key, also
// if this process is killed: the cache removes what is unfinished.
func build(ctx context.Context, log *progress.Log, src debian.Deb, opts []option, signingKey []byte, out string) (err error) {
	work := filepath.Join(out, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	step := log.Start("unpack the kernel's source " + src.Version)
	t, err := unpack(ctx, src, opts, work)
	if step.End(err) != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(t.dir, keyFile), signingKey, 0o600); err != nil {
		return err
	}
	step = log.Start(fmt.Sprintf("configure the kernel, %d options requested", len(opts)))
	if err := step.End(t.configure(ctx, opts)); err != nil {
		return err
	}
	step = log.Start("compile the kernel")
	if err := step.End(t.compile(ctx, step)); err != nil {
		return err
	}
	step = log.Start("collect the kernel")
	err = t.install(ctx, out)
	return step.End(errors.Join(err, os.Remove(filepath.Join(t.dir, keyFile))))
}
