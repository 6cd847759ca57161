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
	"kios/host/filetree"
	"kios/host/progress"
)

// version is part of the cache's key: count it up when the way of building
// changes the product.
const version = "2"

// Product is a built kernel: files in a directory of the cache.
type Product struct {
	Dir       string
	Vmlinuz   string // the image, an EFI program
	SystemMap string // addresses of the kernel's functions, for debugging
	Config    string // the complete configuration
	Release   string // what `uname -r` prints
	Modules   string // directory to be /lib/modules, or "" if nothing is a module
}

// Build returns the kernel made of the source package src and the fragments
// (*.config) in the directory fragments and in its folder for the architecture, building it
// unless the cache has it. Its modules are signed with the key at keyPath, which is made if
// need be.
func Build(ctx context.Context, log *progress.Log, a arch.Arch, src debian.Deb, fragments, keyPath string) (Product, error) {
	r, err := newRecipe(a, src, fragments)
	if err != nil {
		return Product{}, err
	}
	signingKey, err := readKey(keyPath)
	if err != nil {
		return Product{}, err
	}
	key, err := r.key(ctx, keySum(signingKey))
	if err != nil {
		return Product{}, err
	}
	dir, err := cache.Product(ctx, log, a.Product("kernel"), key, func(dir string) error {
		return r.build(ctx, log, signingKey, dir)
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

// Configure returns the path of the complete configuration of the kernel that Build would
// make. Nothing is compiled, so it finds an option that does not take in a minute.
func Configure(ctx context.Context, log *progress.Log, a arch.Arch, src debian.Deb, fragments string) (string, error) {
	r, err := newRecipe(a, src, fragments)
	if err != nil {
		return "", err
	}
	key, err := r.key(ctx)
	if err != nil {
		return "", err
	}
	dir, err := cache.Product(ctx, log, a.Product("kernel-config"), key, func(dir string) error {
		return r.configureIn(ctx, log, dir)
	})
	if err != nil {
		return "", fmt.Errorf("configure kernel: %w", err)
	}
	return filepath.Join(dir, "config"), nil
}

// recipe is what a kernel is made of.
type recipe struct {
	arch arch.Arch
	src  debian.Deb
	opts []option
}

// newRecipe reads the fragments and makes sure that the tools are there.
func newRecipe(a arch.Arch, src debian.Deb, fragments string) (recipe, error) {
	opts, err := readFragments(fragments, a)
	if err != nil {
		return recipe{}, err
	}
	return recipe{a, src, opts}, checkTools(a, opts)
}

// key hashes all that decides the product. The source is the package's contents, whatever
// its name says. That the compiler is one for this architecture, its name says.
func (r recipe) key(ctx context.Context, more ...string) (*cache.Key, error) {
	sum, err := cache.FileSum(r.src.Path)
	if err != nil {
		return nil, err
	}
	tools, err := versions(ctx, r.arch, r.opts)
	if err != nil {
		return nil, err
	}
	parts := append([]string{version, r.src.Version, sum, render(r.opts)}, more...)
	return cache.NewKey(append(parts, tools...)...), nil
}

// build makes the product in out. The sources are unpacked there too, where the
// space is that they need (about 4 GB), and removed again. So is the private key, also
// if this process is killed: the cache removes what is unfinished.
func (r recipe) build(ctx context.Context, log *progress.Log, signingKey []byte, out string) error {
	return r.inTree(ctx, log, out, nil, func(t *tree) error {
		if err := os.WriteFile(filepath.Join(t.dir, keyFile), signingKey, 0o600); err != nil {
			return err
		}
		step := log.Start("compile the kernel")
		if err := step.End(t.compile(ctx, step)); err != nil {
			return err
		}
		step = log.Start("collect the kernel")
		err := t.install(ctx, out)
		return step.End(errors.Join(err, os.Remove(filepath.Join(t.dir, keyFile))))
	})
}

// configureIn leaves the configuration in out.
func (r recipe) configureIn(ctx context.Context, log *progress.Log, out string) error {
	return r.inTree(ctx, log, out, kconfigFiles, func(t *tree) error {
		return filetree.CopyFile(ctx, filepath.Join(out, "config"), filepath.Join(t.dir, ".config"), 0o644)
	})
}

// inTree calls use with a configured source tree, whose files are only those of the
// patterns if there are any. The tree is in out and is removed again.
func (r recipe) inTree(ctx context.Context, log *progress.Log, out string, patterns []string, use func(*tree) error) (err error) {
	work := filepath.Join(out, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	step := log.Start("unpack the kernel's source " + r.src.Version)
	t, err := r.unpack(ctx, work, patterns)
	if step.End(err) != nil {
		return err
	}
	step = log.Start(fmt.Sprintf("configure the kernel, %d options requested", len(r.opts)))
	if err := step.End(t.configure(ctx, r.opts)); err != nil {
		return err
	}
	return use(t)
}
