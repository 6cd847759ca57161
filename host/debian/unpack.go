package debian

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kios/host/arch"
	"kios/host/cache"
	"kios/host/progress"
)

// Unpack fetches packages for an architecture and all that they depend on, libc included,
// in the newest versions that the last of the suites has, or one before it, and unpacks
// them into dir. A package without a version is the newest. No scripts of theirs are run.
// It is for programs that run on the build machine or in a test, with their own
// libraries; what goes onto a node is pinned, see Fetch.
func Unpack(ctx context.Context, log *progress.Log, a arch.Arch, suites []string, pkgs []Package, dir string) error {
	from, err := newArchive("apt-tools", a, suites)
	if err != nil {
		return err
	}
	unlock, err := from.lock(ctx, log)
	if err != nil {
		return err
	}
	defer unlock()
	if err := from.prepare(ctx, log); err != nil {
		return fmt.Errorf("fetch %s of Debian: %w", names(pkgs), err)
	}
	tmp, remove, err := cache.Scratch("debs-")
	if err != nil {
		return err
	}
	defer remove()
	if err := os.Mkdir(filepath.Join(tmp, "partial"), 0o755); err != nil {
		return err
	}
	step := log.Start("download " + names(pkgs) + " and what is needed for it")
	err = from.downloadAll(ctx, tmp, suites[len(suites)-1], pkgs)
	if step.End(err) != nil {
		return fmt.Errorf("fetch %s of Debian: %w (is the network up?)", names(pkgs), err)
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return err
	}
	for _, path := range debs {
		if err := Extract(ctx, Deb{Path: path}, dir); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(path), err)
		}
	}
	return nil
}

// UnpackAlone is Unpack for a package with static programs: what it depends on is left
// out. The package is kept, as by Fetch.
func UnpackAlone(ctx context.Context, log *progress.Log, a arch.Arch, suites []string, pkg Package, dir string) error {
	from, err := newArchive("apt-tools", a, suites)
	if err != nil {
		return err
	}
	debs, err := from.get(ctx, log, []Package{pkg})
	if err != nil {
		return fmt.Errorf("fetch %s of Debian: %w", pkg.Name, err)
	}
	if err := Extract(ctx, debs[0], dir); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(debs[0].Path), err)
	}
	return nil
}

// downloadAll downloads packages of a release, and what they depend on. If a version has
// left the archive, the newest ones take their place.
func (a *archive) downloadAll(ctx context.Context, dir, release string, pkgs []Package) error {
	install := func(what []string) error {
		_, err := run(a.apt(ctx, "apt-get", append([]string{"-o", "Dir::Cache::Archives=" + dir, "-y", "--no-install-recommends", "--download-only",
			// Backports are there to be asked for.
			"--target-release", release, "install"}, what...)...))
		return err
	}
	var pinned, newest []string
	for _, p := range pkgs {
		newest = append(newest, p.Name)
		if p.Version == "" {
			pinned = append(pinned, p.Name)
		} else {
			pinned = append(pinned, p.Name+"="+p.Version)
		}
	}
	if err := install(pinned); err == nil || ctx.Err() != nil {
		return err
	}
	return install(newest)
}

// names lists packages for a person.
func names(pkgs []Package) string {
	var all []string
	for _, p := range pkgs {
		all = append(all, p.Name)
	}
	return strings.Join(all, ", ")
}
