// Package wholefile writes files of which a reader sees the old content or the
// new one, also after a power cut. Files that go with the boot do not need the
// latter, and its sync; those are written elsewhere.
package wholefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write writes a file with that mode, whatever the umask, in place of one that is
// there. Its directory must exist.
func Write(path string, data []byte, mode fs.FileMode) error {
	// A name of its own, since others may write the same file at the same time.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
