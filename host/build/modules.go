package build

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"kios/host/cache"
	"kios/host/filetree"
)

// moduleFiles are those of depmod's lists that somebody on the node reads. The
// others hold the same for programs that kiOS does not have.
var moduleFiles = []string{"modules.dep", "modules.alias", "modules.softdep", "modules.builtin", "modules.builtin.modinfo"}

// buildModules writes modules.erofs from a kernel's /lib/modules.
func (b *Builder) buildModules(ctx context.Context, tree string) error {
	dir, remove, err := cache.Scratch("modules-")
	if err != nil {
		return err
	}
	defer remove()
	if err := stageModules(ctx, dir, tree); err != nil {
		return err
	}
	image, err := b.makeErofs(ctx, dir, "modules", nil)
	if err != nil {
		return err
	}
	return b.publish("modules.erofs", image)
}

func stageModules(ctx context.Context, dir, tree string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	return filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() { // links to the sources, too
			return err
		}
		if filepath.Ext(path) != ".ko" && !slices.Contains(moduleFiles, d.Name()) {
			return nil
		}
		rel, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		return filetree.CopyFile(ctx, filepath.Join(dir, rel), path, 0o444)
	})
}
