package main

import (
	"os"
	"path/filepath"
	"testing"

	"kios/test/lab"
)

// The second build has the links of the first, also those that lead nowhere here.
func TestCopyCheckout(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	lab.Run(t, "git", "-C", root, "init", "--quiet")
	lab.WriteFile(t, filepath.Join(root, "a/file"), "text")
	lab.Must(t, os.Symlink("../run/file", filepath.Join(root, "a/link")))
	lab.Must(t, copyCheckout(t.Context(), root, dir))
	if got := lab.ReadFile(t, filepath.Join(dir, "a/file")); got != "text" {
		t.Errorf("the file is %q", got)
	}
	if target, err := os.Readlink(filepath.Join(dir, "a/link")); target != "../run/file" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
}
