//go:build root

package erofs

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kios/test/lab"
)

// fsck.erofs says of a full disk that the image is damaged.
func TestExtractToAFullDisk(t *testing.T) {
	tree := exampleTree(t, "text")
	lab.WriteFile(t, filepath.Join(tree, "large"), strings.Repeat("0123456789abcdef", 1<<17))
	image := makeImage(t, tree)
	small := t.TempDir()
	lab.Must(t, unix.Mount("small", small, "tmpfs", 0, "size=1M"))
	t.Cleanup(func() { unix.Unmount(small, unix.MNT_DETACH) })
	err := Extract(t.Context(), image, small, Tools{})
	if want := "the file system of " + small + " is full"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Extract = %v, want that %s", err, want)
	}
}
