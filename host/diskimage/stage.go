package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kios/host/filetree"
)

// stage lays out the data partition in the new directory dir. Paths follow the
// contract of the data partition: /meta/etc is laid over /etc, /images is
// imported at boot.
func (o *Options) stage(ctx context.Context, dir string) error {
	for _, d := range []struct {
		path string
		mode fs.FileMode
	}{
		{"", 0o755},
		{"meta", 0o700},
		// The upper layer's root lends its mode to /etc, which pods that do
		// not run as root may read.
		{"meta/etc", 0o755},
		{"images", 0o755},
	} {
		if err := mkdir(filepath.Join(dir, d.path), d.mode); err != nil {
			return err
		}
	}
	if err := o.stageEtc(ctx, filepath.Join(dir, "meta/etc")); err != nil {
		return fmt.Errorf("copy %s: %w", o.Etc, err)
	}
	if err := o.stageImages(ctx, filepath.Join(dir, "images")); err != nil {
		return err
	}
	return o.stageExtra(dir)
}

// stageEtc copies the directory for /etc, which may be named by a link.
func (o *Options) stageEtc(ctx context.Context, dir string) error {
	if o.Etc == "" {
		return nil
	}
	etc, err := filepath.EvalSymlinks(o.Etc)
	if err != nil {
		return err
	}
	return filetree.Copy(ctx, dir, etc, filetree.Keep)
}

// stageImages copies the archives and layouts. Two with the same name get
// different ones.
func (o *Options) stageImages(ctx context.Context, dir string) error {
	if err := o.checkImages(ctx); err != nil {
		return err
	}
	used := map[string]bool{}
	for _, path := range o.OCI {
		if err := stageImage(ctx, dir, path, used); err != nil {
			return fmt.Errorf("copy %s: %w", path, err)
		}
	}
	return nil
}

// stageImage copies an archive, or a layout, which may be named by a link.
func stageImage(ctx context.Context, dir, path string, used map[string]bool) error {
	if !isLayout(path) {
		// The suffix is that by which the node knows archives.
		return filetree.CopyFile(ctx, filepath.Join(dir, freeName(path, ".tar", used)), path, 0o644)
	}
	to := filepath.Join(dir, freeName(path, "", used))
	if err := mkdir(to, 0o755); err != nil {
		return err
	}
	layout, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return filetree.Copy(ctx, to, layout, filetree.Keep)
}

// freeName returns the last element of path, with a number if it is taken, and
// with the suffix.
func freeName(path, suffix string, used map[string]bool) string {
	stem := strings.TrimSuffix(filepath.Base(path), suffix)
	name := stem + suffix
	for i := 2; used[name]; i++ {
		name = fmt.Sprintf("%s-%d%s", stem, i, suffix)
	}
	used[name] = true
	return name
}

func (o *Options) stageExtra(dir string) error {
	for path, file := range o.Extra {
		if !filepath.IsLocal(path) {
			return fmt.Errorf("extra file %q is not a path below the data partition", path)
		}
		if err := mkParents(dir, path); err != nil {
			return err
		}
		dst := filepath.Join(dir, path)
		// It takes the place of a file of Etc.
		if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := filetree.WriteFile(dst, file.Data, file.Mode); err != nil {
			return err
		}
	}
	return nil
}

// mkParents makes the missing directories above path with the modes that the
// node would give them: readable where they appear as /var/lib and /etc.
func mkParents(root, path string) error {
	parts := strings.Split(filepath.Dir(path), string(filepath.Separator))
	for i := range parts {
		dir := filepath.Join(parts[:i+1]...)
		mode := fs.FileMode(0o700)
		if dir == "data" || dir == "data/lib" || strings.HasPrefix(dir, "meta/etc/") {
			mode = 0o755
		}
		if err := mkdir(filepath.Join(root, dir), mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// mkdir makes a directory with the mode as given, whatever the umask.
func mkdir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}
