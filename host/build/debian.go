package build

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"kios/host/cache"
	"kios/host/debian"
)

// The Debian packages that parts of the system come from.
const (
	kernelPackage = "linux-source-6.12"
	stubPackage   = "systemd-boot-efi"
	certsPackage  = "ca-certificates"
	// What runc is linked with: libseccomp.a, its header, and what pkg-config says of it.
	librariesPackage = "libseccomp-dev"
)

// debianPackages are fetched packages by name. All but the kernel's source
// are extracted; that one unpacks itself in its own time.
type debianPackages map[string]debianPackage

type debianPackage struct {
	debian.Deb
	dir string
}

func (b *Builder) fetchDebian(ctx context.Context) (debianPackages, error) {
	return b.fetchPackages(ctx, b.Versions.Debian.Packages)
}

// Conformance fetches and unpacks the packages that the images of the conformance
// tests are made of, and those of the system, and returns their directories by name.
func (b *Builder) Conformance(ctx context.Context) (map[string]string, error) {
	versions := maps.Clone(b.Versions.Debian.Packages)
	delete(versions, kernelPackage)
	maps.Copy(versions, b.Versions.Conformance.Packages)
	debs, err := b.fetchPackages(ctx, versions)
	if err != nil {
		return nil, err
	}
	trees := map[string]string{}
	for name, d := range debs {
		trees[name] = d.dir
	}
	return trees, nil
}

// fetchPackages fetches the packages of these versions, by name.
func (b *Builder) fetchPackages(ctx context.Context, versions map[string]string) (debianPackages, error) {
	var want []debian.Package
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		want = append(want, debian.Package{Name: name, Version: versions[name]})
	}
	debs, err := debian.Fetch(ctx, b.Log, b.Arch, b.Versions.Debian.Suites, want)
	if err != nil {
		return nil, err
	}
	got := debianPackages{}
	for _, d := range debs {
		if d.Notice != "" {
			b.Log.Print("kios: notice: " + d.Notice)
		}
		p := debianPackage{Deb: d}
		if d.Name != kernelPackage {
			if p.dir, err = b.extract(ctx, d); err != nil {
				return nil, fmt.Errorf("unpack %s: %w", filepath.Base(d.Path), err)
			}
		}
		got[d.Name] = p
	}
	return got, nil
}

// extract unpacks a package into the cache. One that is the same for all architectures is
// there once.
func (b *Builder) extract(ctx context.Context, d debian.Deb) (string, error) {
	name := "deb-" + d.Name
	if !d.ForAll() {
		name = b.Arch.Product(name)
	}
	return cache.Product(ctx, b.Log, name, cache.NewKey(d.Name, d.Version), func(dir string) error {
		return debian.Extract(ctx, d, dir)
	})
}
