//go:build root

package erofs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// extractTo extracts an image of one file of that size into a file system of a megabyte
// and so many pages.
func extractTo(t *testing.T, size, pages int) (dir string, err error) {
	t.Helper()
	tree := t.TempDir()
	lab.WriteFile(t, filepath.Join(tree, "large"), strings.Repeat("0123456789abcdef", size/16))
	image := makeImage(t, tree)
	dir = t.TempDir()
	lab.Must(t, unix.Mount("small", dir, "tmpfs", 0, fmt.Sprintf("size=%d", 1<<20+pages*os.Getpagesize())))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir, Extract(t.Context(), image, dir, Tools{})
}

// fsck.erofs cuts the last piece of a file that it writes to a full disk, and succeeds. A
// file that compresses well is one piece.
func TestExtractToAFullDisk(t *testing.T) {
	dir, err := extractTo(t, 2<<20, 0)
	if want := "the file system of " + dir + " is full: /large has 1048576 of 2097152 bytes"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Extract = %v, want that %s", err, want)
	}
}

// A disk that the image has filled holds all of it.
func TestExtractFillsADisk(t *testing.T) {
	if _, err := extractTo(t, 1<<20, 1); err != nil { // a page for the directory
		t.Errorf("Extract = %v", err)
	}
}
