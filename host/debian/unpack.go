package debian

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"kios/host/cache"
	"kios/host/progress"
)

// Unpack fetches a package and all that it depends on, libc included, in the
// newest versions that the last of the suites has, or one before it, and unpacks
// them into dir. No scripts of theirs are run. It is for programs that run on the
// build machine, with their own libraries; what goes onto a node is pinned, see
// Fetch.
func Unpack(ctx context.Context, log *progress.Log, suites []string, pkg Package, dir string) error {
	name := pkg.Name
	a, err := newArchive("apt-tools", suites)
	if err != nil {
		return err
	}
	unlock, err := a.lock(ctx, log)
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.prepare(ctx, log); err != nil {
		return fmt.Errorf("fetch Debian package %s: %w", name, err)
	}
	tmp, remove, err := cache.Scratch("debs-")
	if err != nil {
		return err
	}
	defer remove()
	if err := os.Mkdir(filepath.Join(tmp, "partial"), 0o755); err != nil {
		return err
	}
	step := log.Start("download " + name + " and what it depends on")
	err = a.downloadAll(ctx, tmp, suites[len(suites)-1], pkg)
	if step.End(err) != nil {
		return fmt.Errorf("fetch Debian package %s: %w (is the network up?)", name, err)
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

// downloadAll downloads a package of a release, and what it depends on. A version that
// has left the archive is replaced by the newest.
func (a *archive) downloadAll(ctx context.Context, dir, release string, pkg Package) error {
	install := func(what string) error {
		_, err := run(a.apt(ctx, "apt-get", "-o", "Dir::Cache::Archives="+dir, "-y", "--no-install-recommends", "--download-only",
			// Backports are there to be asked for.
			"--target-release", release, "install", what))
		return err
	}
	if err := install(pkg.Name + "=" + pkg.Version); err == nil || ctx.Err() != nil {
		return err
	}
	return install(pkg.Name)
}
