package oci

import (
	"io/fs"
	"path/filepath"

	"kios/host/filetree"
)

// Place puts the file below the directory root, as it is in the image.
func (f File) Place(root string) error {
	at := filepath.Join(root, filepath.Clean("/"+f.Path))
	switch {
	case f.Mode.IsDir():
		return filetree.Mkdir(at, f.Mode.Perm())
	case f.Mode&fs.ModeSymlink != 0:
		return filetree.Symlink(at, string(f.Data))
	case f.From != "":
		return filetree.CopyFile(at, f.From, f.Mode.Perm())
	}
	return filetree.WriteFile(at, f.Data, f.Mode.Perm())
}
