package debian

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"kios/host/progress"
)

// Unpack fetches a package and all that it depends on, libc included, in the
// newest versions that the last of the suites has, or one before it, and unpacks
// them into dir. No scripts of theirs are run. It is for programs that run on the
// build machine, with their own libraries; what goes onto a node is pinned, see
// Fetch.
func Unpack(ctx context.Context, log *progress.Log, suites []string, name, dir string) error {
	a, err := newArchive("apt-tools", suites)
	if err != nil {
		return err
	}
	if err := a.prepare(ctx, log); err != nil {
		return fmt.Errorf("fetch Debian package %s: %w", name, err)
	}
	tmp, err := os.MkdirTemp("", "kios-debs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Mkdir(filepath.Join(tmp, "partial"), 0o755); err != nil {
		return err
	}
	step := log.Start("download " + name + " and what it depends on")
	_, err = run(a.apt(ctx, "apt-get", "-o", "Dir::Cache::Archives="+tmp, "-y", "--no-install-recommends", "--download-only",
		// Backports are there to be asked for.
		"--target-release", suites[len(suites)-1], "install", name))
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
