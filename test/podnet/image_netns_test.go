//go:build netns

package podnet

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

const products = "../../_out/amd64/cluster/v1.37.2"

// unpack unpacks the layers of an image's archive and returns the root directory.
func unpack(t *testing.T, image string) string {
	t.Helper()
	// The names have numbers, since a node imports them in that order.
	found, err := filepath.Glob(filepath.Join(products, "[0-9]-"+image+".tar"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		t.Fatalf("%s has no archive of %s: build it with kios cluster build", products, image)
	}
	archive, err := os.Open(found[0])
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	root := t.TempDir()
	err = eachFile(archive, func(h *tar.Header, r io.Reader) error {
		blob, err := io.ReadAll(r)
		if err != nil || !isTar(blob) {
			return err
		}
		return eachFile(bytes.NewReader(blob), func(h *tar.Header, r io.Reader) error { return place(root, h, r) })
	})
	if err != nil {
		t.Fatalf("unpack the image %s: %v", image, err)
	}
	return root
}

func eachFile(archive io.Reader, do func(*tar.Header, io.Reader) error) error {
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(h, r); err != nil {
			return err
		}
	}
}

func isTar(blob []byte) bool { return len(blob) > 262 && string(blob[257:262]) == "ustar" }

func place(root string, h *tar.Header, r io.Reader) error {
	path := filepath.Join(root, filepath.Clean("/"+h.Name))
	if h.Typeflag == tar.TypeDir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeSymlink {
		return os.Symlink(h.Linkname, path)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, os.FileMode(h.Mode).Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
