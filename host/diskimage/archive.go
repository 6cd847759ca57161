package diskimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"kios/host/oci"
)

// The two annotations by which an OCI archive names an image; containerd
// writes the first and prefers it.
const (
	nameAnnotation = "io.containerd.image.name"
	refAnnotation  = "org.opencontainers.image.ref.name"
)

// maxIndex bounds what is read of an archive's index.
const maxIndex = 8 << 20

// ImageNames reads the archive at path, an OCI layout or the output of "docker
// save" as a tar file, and returns the names of the images in it. It is an
// error if there are none: no pod could refer to them. A layout with layers that
// are EROFS images, which a node uses in place, may be a directory.
func ImageNames(path string) ([]string, error) {
	if isLayout(path) {
		return layoutNames(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open image archive: %w", err)
	}
	defer f.Close()
	if err := checkKind(f); err != nil {
		return nil, fmt.Errorf("image archive %s %w", path, err)
	}
	names, err := imageNames(f)
	if err != nil {
		return nil, fmt.Errorf("image archive %s %w", path, err)
	}
	return names, nil
}

func isLayout(path string) bool {
	_, err := os.Stat(filepath.Join(path, "oci-layout"))
	return err == nil
}

func layoutNames(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return nil, fmt.Errorf("image layout: %w", err)
	}
	names, err := ociNames(data)
	if err != nil {
		return nil, fmt.Errorf("image layout %s has a damaged index.json: %w", dir, err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("image layout %s has no image with a name", dir)
	}
	return names, checkLayers(dir, data)
}

// checkLayers demands layers that a node can use in place.
func checkLayers(dir string, index []byte) error {
	type descriptor struct{ MediaType, Digest string }
	var list struct{ Manifests []descriptor }
	if err := json.Unmarshal(index, &list); err != nil {
		return fmt.Errorf("image layout %s has a damaged index.json: %w", dir, err)
	}
	for _, m := range list.Manifests {
		data, err := os.ReadFile(filepath.Join(dir, "blobs", strings.Replace(m.Digest, ":", "/", 1)))
		if err != nil {
			return fmt.Errorf("image layout %s: %w", dir, err)
		}
		var manifest struct{ Layers []descriptor }
		if err := json.Unmarshal(data, &manifest); err != nil {
			return fmt.Errorf("image layout %s has a damaged manifest: %w", dir, err)
		}
		for _, l := range manifest.Layers {
			if l.MediaType != string(oci.ErofsLayer) {
				return fmt.Errorf("image layout %s has layers that a node must unpack (%s): make a tar file of it, with: cd %s && tar -cf ../FILE.tar *", dir, l.MediaType, dir)
			}
		}
	}
	return nil
}

// kinds are what people hand over instead of a tar file.
var kinds = []struct{ magic, text string }{
	{"\x1f\x8b", "is compressed with gzip: unpack it first, with gunzip"},
	{"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it first, with unzstd"},
	{"\xfd7zXZ\x00", "is compressed with xz: unpack it first, with unxz"},
	{"BZh", "is compressed with bzip2: unpack it first, with bunzip2"},
	{"\x7fELF", "is a program: pack it in an image first"},
	{"{", "is JSON: give the archive itself"},
}

func checkKind(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("is a directory, but not an OCI layout")
	}
	if !info.Mode().IsRegular() {
		return errors.New("is not a regular file")
	}
	if info.Size() == 0 {
		return errors.New("is empty")
	}
	head := make([]byte, 8)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return err
	}
	for _, k := range kinds {
		if bytes.HasPrefix(head[:n], []byte(k.magic)) {
			return errors.New(k.text)
		}
	}
	return nil
}

// imageNames walks through the whole tar file, so that one that was cut short
// is noticed here and not at boot.
func imageNames(r io.Reader) ([]string, error) {
	var names []string
	var known bool
	tr := tar.NewReader(r)
	for first := true; ; first = false {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil && first {
			return nil, errors.New("is not a tar file")
		}
		if err != nil {
			return nil, damaged(err)
		}
		if parse := indexes[cleanName(h.Name)]; parse != nil {
			known = true
			found, err := namesIn(h.Name, tr, parse)
			if err != nil {
				return nil, err
			}
			names = append(names, found...)
		}
	}
	if !known {
		return nil, errors.New("is neither an OCI layout nor the output of docker save: it has neither index.json nor manifest.json")
	}
	if names = unique(names); len(names) == 0 {
		return nil, fmt.Errorf("has no image with a name: tag the image before you save it (annotation %s)", refAnnotation)
	}
	return names, nil
}

func damaged(err error) error { return fmt.Errorf("is damaged or truncated: %w", err) }

// namesIn reads an index, which is the file of a name in an archive.
func namesIn(name string, r io.Reader, parse func([]byte) ([]string, error)) ([]string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxIndex))
	if err != nil {
		return nil, damaged(err)
	}
	names, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("has a damaged %s: %w", name, err)
	}
	return names, nil
}

// indexes are the files of an archive that name images.
var indexes = map[string]func([]byte) ([]string, error){
	"index.json":    ociNames,
	"manifest.json": dockerNames,
}

// ociNames reads the index.json of an OCI layout
// (https://github.com/opencontainers/image-spec/blob/main/image-layout.md).
func ociNames(data []byte) ([]string, error) {
	var index struct {
		Manifests []struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, err
	}
	var names []string
	for _, m := range index.Manifests {
		if name := m.Annotations[nameAnnotation]; name != "" {
			names = append(names, name)
		} else if name := m.Annotations[refAnnotation]; name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// dockerNames reads the manifest.json of "docker save".
func dockerNames(data []byte) ([]string, error) {
	var manifest []struct {
		RepoTags []string
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, err
	}
	var names []string
	for _, m := range manifest {
		names = append(names, m.RepoTags...)
	}
	return names, nil
}

func cleanName(name string) string {
	for len(name) > 2 && name[:2] == "./" {
		name = name[2:]
	}
	return name
}

func unique(names []string) []string {
	sort.Strings(names)
	var out []string
	for _, n := range names {
		if len(out) == 0 || out[len(out)-1] != n {
			out = append(out, n)
		}
	}
	return out
}
