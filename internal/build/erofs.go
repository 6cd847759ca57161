package build

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kios/internal/cache"
	"kios/internal/erofs"
)

// compression of the root. See docs/decisions/0007 for what was measured.
var compression = erofs.Options{
	Compression: "lz4hc,12",
	Cluster:     32 << 10,
	UUID:        "6b694f53-0000-4000-8000-000000000001", // fixed: the image must not differ between builds
}

// makeErofs writes rootfs.erofs from the tree at dir. The image is cached,
// since compressing takes longer than all else of a warm build.
func (b *Builder) makeErofs(ctx context.Context, dir string) error {
	shape, err := treeShape(dir)
	if err != nil {
		return err
	}
	key := cache.NewKey("rootfs", fmt.Sprintf("%+v", compression), shape)
	if err := key.AddTree(dir); err != nil {
		return err
	}
	product, err := cache.Product("rootfs", key, func(out string) error {
		step := b.Log.Start("compress the root")
		return step.End(erofs.Make(ctx, dir, out+"/rootfs.erofs", compression))
	})
	if err != nil {
		return err
	}
	return copyFile(b.Out("rootfs.erofs"), product+"/rootfs.erofs", 0o644)
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
