// Package build makes the operating system from source: the kernel, the
// upstream programs, our own programs, the bundled images, the EROFS root, the
// initrd and the EFI file that holds them all.
//
// It is the order of work and nothing else. How a kernel is configured, a Go
// program compiled, an EROFS or a UKI written, is known by the packages that it
// calls. All output goes to _out/<arch>; expensive products are cached outside
// the checkout (package cache).
package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/kernel"
	"kios/host/progress"
	"kios/internal/wholefile"
)

// Versions is the content of versions.json: every external version that is
// not a Go module, and our own.
type Versions struct {
	KiOS   string `json:"kios"`
	Debian struct {
		Suites   []string          `json:"suites"`
		Packages map[string]string `json:"packages"`
	} `json:"debian"`
	// Conformance is what the images of the conformance tests are made of besides.
	Conformance struct {
		Sources  map[string]string `json:"sources"` // source packages
		Packages map[string]string `json:"packages"`
	} `json:"conformance"`
	// Tools are programs that run on this machine, but not from its own release.
	Tools map[string]string `json:"tools"`
	// Host lists the Debian packages that building and running needs whatever the
	// architecture; each of these has more, see package arch. Test lists those that tests
	// and benchmarks need besides.
	Host []string `json:"host"`
	Test []string `json:"test"`
}

// Builder builds one checkout for one architecture.
type Builder struct {
	Root     string // the checkout
	Arch     arch.Arch
	Versions Versions
	Log      *progress.Log
}

// New returns a Builder for the checkout at root that builds for an architecture.
func New(root string, a arch.Arch, log *progress.Log) (*Builder, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	b := &Builder{Root: root, Arch: a, Log: log}
	data, err := os.ReadFile(filepath.Join(root, "versions.json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &b.Versions); err != nil {
		return nil, fmt.Errorf("parse versions.json: %w", err)
	}
	return b, nil
}

// FindRoot returns the checkout that dir is in: the nearest directory upwards
// with our versions.json.
func FindRoot(dir string) (string, error) {
	for d := dir; ; d = filepath.Dir(d) {
		if isRoot(d) {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", errors.New("no kiOS checkout in this directory or above; run kios in a checkout")
		}
	}
}

// isRoot tells our checkout from other projects with a versions.json.
func isRoot(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "versions.json"))
	mod, modErr := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && modErr == nil && bytes.HasPrefix(mod, []byte("module kios\n"))
}

// Out returns the path of a product: _out/<arch>/name.
func (b *Builder) Out(name string) string {
	return filepath.Join(b.Root, "_out", b.Arch.Name, name)
}

// publish puts a product of the cache in its place in _out/<arch>.
func (b *Builder) publish(name, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return wholefile.Copy(b.Out(name), f, 0o644)
}

// Build makes kios.efi, and beside it what it is made of (vmlinuz, initrd,
// cmdline, rootfs.erofs, modules.erofs, images) and the example image hello.tar. Each
// is whole whenever it is there, also while another process builds.
func (b *Builder) Build(ctx context.Context) error {
	if err := os.MkdirAll(b.Out(""), 0o755); err != nil {
		return err
	}
	unlock, err := cache.Lock(ctx, b.Log, filepath.Join(b.Root, "_out", b.Arch.Name+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	debs, bins, k, err := b.compile(ctx)
	if err != nil {
		return err
	}
	pods, err := b.SystemPods()
	if err != nil {
		return err
	}
	if err := b.buildImages(ctx, debs, bins, pods); err != nil {
		return err
	}
	if err := b.buildRoot(ctx, debs, bins, pods); err != nil {
		return err
	}
	return b.assemble(debs, bins, k)
}

// compile makes what takes long: the kernel, and beside it the programs. Either has
// phases that use one processor, such as unpacking and linking.
func (b *Builder) compile(ctx context.Context) (debs debianPackages, bins programs, k kernel.Product, err error) {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		if debs, err = b.fetchDebian(ctx); err != nil {
			return err
		}
		k, err = b.buildKernel(ctx, debs)
		return err
	})
	both.Go(func() (err error) {
		bins, err = b.buildPrograms(ctx)
		return err
	})
	err = both.Wait() // before the results are read
	return debs, bins, k, err
}
