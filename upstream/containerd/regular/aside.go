package regular

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// PutAside renames to NAME.bad what is in a directory under names with one of some
// extensions, and is no regular file of at most limit bytes, for programs that open whatever
// they find: a FIFO would hold them up for ever. Directories, and links to nothing, hold
// nobody up and stay.
func PutAside(dir string, extensions []string, limit int64, say func(format string, args ...any)) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // of no names
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !slices.Contains(extensions, filepath.Ext(path)) {
			continue
		}
		why := fault(path, limit)
		if why == nil {
			continue
		}
		if err := os.Rename(path, path+".bad"); err != nil {
			say("%s: %v; it cannot be put aside: %v: remove it", path, why, err)
			continue
		}
		say("%s is not used, and is kept as %s.bad: %v: put a file in its place", path, e.Name(), why)
	}
}

func fault(path string, limit int64) error {
	info, err := os.Stat(path)
	if err != nil || info.IsDir() {
		return nil
	}
	f, err := Open(path)
	var detail *fs.PathError
	switch {
	case errors.As(err, &detail):
		return detail.Err
	case err != nil:
		return err
	}
	f.Close()
	if info.Size() > limit {
		return fmt.Errorf("it has more than %d bytes", limit)
	}
	return nil
}
