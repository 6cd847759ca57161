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

	v1 "github.com/google/go-containerregistry/pkg/v1"

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
	names, _, err := ociNames(data)
	if err != nil {
		return nil, fmt.Errorf("image layout %s %w", dir, err)
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
	found := descriptions{}
	tr := tar.NewReader(r)
	for first := true; ; first = false {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil && first {
			return nil, errors.New("is not a tar file")
		}
		if err == nil {
			err = found.read(cleanName(h.Name), h.Size, tr)
		}
		if err != nil {
			return nil, damaged(err)
		}
	}
	return found.names()
}

func damaged(err error) error { return fmt.Errorf("is damaged or truncated: %w", err) }

// read keeps a file of the archive if it may describe images.
func (d descriptions) read(name string, size int64, r io.Reader) error {
	if _, index := indexes[name]; !index && !d.wants(name, size) {
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(r, maxIndex))
	if err == nil && (indexes[name] != nil || bytes.HasPrefix(data, []byte("{"))) {
		d.keep(name, data)
	}
	return err
}

// names returns the names of the images, if a node can import all of them.
func (d descriptions) names() ([]string, error) {
	var names []string
	known := false
	for file, parse := range indexes {
		data, found := d[file]
		if !found {
			continue
		}
		known = true
		more, err := parse(d, data)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	if !known {
		return nil, errors.New("is neither an OCI layout nor the output of docker save: it has neither index.json nor manifest.json")
	}
	if names = unique(names); len(names) == 0 {
		return nil, fmt.Errorf("has no image with a name: tag the image before you save it (annotation %s)", refAnnotation)
	}
	return names, nil
}

// indexes are the files of an archive that name images.
var indexes = map[string]func(d descriptions, data []byte) ([]string, error){
	"index.json":    ociImages,
	"manifest.json": dockerImages,
}

func ociImages(d descriptions, data []byte) ([]string, error) {
	names, manifests, err := ociNames(data)
	if err != nil {
		return nil, err
	}
	return names, d.checkPlatform(manifests)
}

// ociNames reads the index.json of an OCI layout
// (https://github.com/opencontainers/image-spec/blob/main/image-layout.md), and returns
// the names of its images and their descriptors. A node does not import an image whose
// name is a tag only.
func ociNames(data []byte) (names []string, manifests []v1.Descriptor, err error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, nil, fmt.Errorf("has a damaged index.json: %w", err)
	}
	for _, m := range index.Manifests {
		name := m.Annotations[nameAnnotation]
		if name == "" {
			name = m.Annotations[refAnnotation]
		}
		if name != "" && !strings.ContainsAny(name, "/:@") {
			return nil, nil, fmt.Errorf("names an image only %q, which is a tag without a repository, and a node does not import that: give the whole name when you save it, such as registry.example/app:%[1]s", name)
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names, index.Manifests, nil
}

// dockerImages reads the manifest.json of "docker save".
func dockerImages(d descriptions, data []byte) ([]string, error) {
	var manifest []struct {
		RepoTags []string
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, fmt.Errorf("has a damaged manifest.json: %w", err)
	}
	var names []string
	for _, m := range manifest {
		names = append(names, m.RepoTags...)
	}
	return names, d.checkDocker(data)
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
