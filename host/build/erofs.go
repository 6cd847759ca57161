package build

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kios/host/cache"
	"kios/host/erofs"
	"kios/host/hosttool"
)

// compression of the root. See docs/decisions/0007 for what was measured.
var compression = erofs.Options{
	Compression: "lz4hc,12",
	Cluster:     32 << 10,
	UUID:        "6b694f53-0000-4000-8000-000000000001", // fixed: the image must not differ between builds
}

// makeErofs makes an EROFS image of the tree at dir and returns its path in the
// cache, where it is kept because compressing takes longer than all else of a
// warm build. The name is that of the product, for people. check, if it is not
// nil, has to succeed before.
func (b *Builder) makeErofs(ctx context.Context, dir, name string, check func(context.Context) error) (string, error) {
	shape, err := treeShape(dir)
	if err != nil {
		return "", err
	}
	maker, err := hosttool.Fingerprint("mkfs.erofs")
	if err != nil {
		return "", err
	}
	key := cache.NewKey(name, fmt.Sprintf("%+v", compression), shape, maker)
	if err := key.AddTree(dir); err != nil {
		return "", err
	}
	product, err := cache.Product(ctx, b.Log, b.Arch.Product(name), key, func(out string) error {
		if check != nil {
			if err := check(ctx); err != nil {
				return err
			}
		}
		step := b.Log.Start("compress the " + strings.ReplaceAll(name, "-", " "))
		return step.End(erofs.Make(ctx, dir, filepath.Join(out, "image.erofs"), compression))
	})
	return filepath.Join(product, "image.erofs"), err
}

// treeShape lists the modes and links of a tree, which a hash of its files'
// contents does not see.
func treeShape(dir string) (string, error) {
	var shape strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if target, err = os.Readlink(path); err != nil {
				return err
			}
		}
		fmt.Fprintln(&shape, strings.TrimPrefix(path, dir), info.Mode(), target)
		return nil
	})
	return shape.String(), err
}
