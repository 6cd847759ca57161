package oci

import (
	"context"
	"io/fs"
	"path/filepath"

	"kios/host/filetree"
)

// Place puts the file below the directory root, as it is in the image.
func (f File) Place(ctx context.Context, root string) error {
	at, mode := filepath.Join(root, filepath.Clean("/"+f.Path)), f.Mode&^fs.ModeType
	switch {
	case f.Mode.IsDir():
		return filetree.Mkdir(at, mode)
	case f.Mode&fs.ModeSymlink != 0:
		return filetree.Symlink(at, string(f.Data))
	case f.From != "":
		return filetree.CopyFile(ctx, at, f.From, mode)
	}
	return filetree.WriteFile(at, f.Data, mode)
}
