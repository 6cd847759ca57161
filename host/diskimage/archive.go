package diskimage

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"kios/host/arch"
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
// save" as a tar file, which may be compressed with gzip or zstd, and returns the names of
// the images in it that a node of an architecture imports. It is an error if there are
// none: no pod could refer to them. A layout with layers that are EROFS images, which a
// node uses in place, may be a directory.
func ImageNames(ctx context.Context, path string, a arch.Arch) ([]string, error) {
	images, err := readImages(ctx, path, platformOf(a))
	var names []string
	for _, i := range images {
		if i.content != "" {
			names = append(names, i.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// namedImage is an image of an archive. Two archives that have the same content under a
// name bring the same image. Without a content, it is not for a node.
type namedImage struct {
	name, content string
	platforms     []string // as far as the archive says
}

// readImages returns the images with names in an archive that has one for a platform.
func readImages(ctx context.Context, path, platform string) ([]namedImage, error) {
	if isLayout(path) {
		return layoutImages(path, platform)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open image archive: %w", err)
	}
	defer f.Close()
	images, err := fileImages(ctx, f, platform)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("image archive %s %w", path, err)
	}
	return images, nil
}

func fileImages(ctx context.Context, f *os.File, platform string) ([]namedImage, error) {
	if err := checkKind(f); err != nil {
		return nil, err
	}
	content, err := unpack(ctx, f)
	if err != nil {
		return nil, damaged(err)
	}
	defer content.Close()
	images, err := archiveImages(content, platform)
	if err != nil {
		return nil, err
	}
	// A compressed file's checksum comes behind what is read of it as a tar file.
	if _, err := io.Copy(io.Discard, content); err != nil {
		return nil, damaged(err)
	}
	return images, nil
}

func isLayout(path string) bool {
	_, err := os.Stat(filepath.Join(path, "oci-layout"))
	return err == nil
}

func layoutImages(dir, platform string) ([]namedImage, error) {
	found, err := readLayout(dir)
	if err != nil {
		return nil, fmt.Errorf("image layout: %w", err)
	}
	images, err := found.images(platform)
	if err != nil {
		return nil, fmt.Errorf("image layout %s %w", dir, err)
	}
	return images, checkLayers(dir, found["index.json"])
}

// readLayout keeps the descriptions of a layout that is a directory.
func readLayout(dir string) (descriptions, error) {
	found := descriptions{}
	files := os.DirFS(dir) // which follows a link that dir is
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := files.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		return found.read(name, info.Size(), f)
	})
	return found, err
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
		var manifest struct{ Manifests, Layers []descriptor }
		if err := json.Unmarshal(data, &manifest); err != nil {
			return fmt.Errorf("image layout %s has a damaged manifest: %w", dir, err)
		}
		if len(manifest.Manifests) > 0 {
			return asArchive(dir, "an image for several platforms, of which a node must choose")
		}
		for _, l := range manifest.Layers {
			if l.MediaType != string(oci.ErofsLayer) {
				return asArchive(dir, "layers that a node must unpack ("+l.MediaType+")")
			}
		}
	}
	return nil
}

func asArchive(dir, what string) error {
	return fmt.Errorf("image layout %s has %s: make a tar file of it, with: cd %s && tar -cf ../FILE.tar *", dir, what, dir)
}

// kinds are what people hand over instead of a tar file.
var kinds = []struct{ magic, text string }{
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

// archiveImages walks through the whole tar file, so that one that was cut short
// is noticed here and not at boot.
func archiveImages(r io.Reader, platform string) ([]namedImage, error) {
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
	return found.images(platform)
}

func damaged(err error) error { return fmt.Errorf("is damaged or truncated: %w", err) }

// read keeps a file of the archive if it may describe images.
func (d descriptions) read(name string, size int64, r io.Reader) error {
	index := slices.ContainsFunc(indexes, func(i index) bool { return i.file == name })
	if !index && !d.wants(name, size) {
		d[name] = nil
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(r, maxIndex))
	if err == nil && (index || bytes.HasPrefix(data, []byte("{"))) {
		d.keep(name, data)
	}
	return err
}

// images returns the images with names, if a node of a platform can import one of them.
func (d descriptions) images(platform string) ([]namedImage, error) {
	var all []namedImage
	known := false
	for _, index := range indexes {
		data, found := d[index.file]
		if !found {
			continue
		}
		known = true
		more, err := index.parse(d, data, platform)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			all = more
		}
	}
	if !known {
		return nil, errors.New("is neither an OCI layout nor the output of docker save: it has neither index.json nor manifest.json")
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("has no image with a name: tag the image before you save it (annotation %s)", refAnnotation)
	}
	if err := errPlatform(all, platform); err != nil {
		return nil, err
	}
	return all, nil
}

// index is a file of an archive that names images.
type index struct {
	file  string
	parse func(d descriptions, data []byte, platform string) ([]namedImage, error)
}

// indexes are in the order in which a node looks for them: of an archive with both, it
// takes the first.
var indexes = []index{
	{"index.json", ociImages},
	{"manifest.json", dockerImages},
}

// ociImages reads the index.json of an OCI layout
// (https://github.com/opencontainers/image-spec/blob/main/image-layout.md), and returns
// its images with names. A node does not import an image whose name is a tag only.
func ociImages(d descriptions, data []byte, platform string) (images []namedImage, err error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("has a damaged index.json: %w", err)
	}
	for _, m := range index.Manifests {
		name := cmp.Or(m.Annotations[nameAnnotation], m.Annotations[refAnnotation])
		if name != "" && !strings.ContainsAny(name, "/:@") {
			return nil, fmt.Errorf("names an image only %q, which is a tag without a repository, and a node does not import that: give the whole name when you save it, such as registry.example/app:%[1]s", name)
		}
		if name != "" {
			images = append(images, d.ociImage(name, m, platform))
		}
	}
	return images, nil
}

func (d descriptions) ociImage(name string, m v1.Descriptor, platform string) namedImage {
	i := namedImage{name: name, platforms: d.platforms([]v1.Descriptor{m}, 0)}
	attests := m.Platform != nil && m.Platform.OS == attestation
	if !attests && fits(i.platforms, platform) {
		i.content = m.Digest.String()
	}
	return i
}

// dockerImages reads the manifest.json of "docker save".
func dockerImages(d descriptions, data []byte, platform string) (images []namedImage, err error) {
	var manifest []struct {
		Config   string
		RepoTags []string
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, fmt.Errorf("has a damaged manifest.json: %w", err)
	}
	for _, m := range manifest {
		for _, tag := range m.RepoTags {
			i := namedImage{name: tag, platforms: d.dockerPlatforms(m.Config)}
			if fits(i.platforms, platform) {
				i.content = d.dockerContent(m.Config)
			}
			images = append(images, i)
		}
	}
	return images, nil
}

// dockerContent tells an image by its configuration, which has the digests of its layers.
// Most programs name the file by its own digest, too. It is not the content of an
// OCI layout with the same files: a node makes another manifest of it.
func (d descriptions) dockerContent(config string) string {
	if data := d[config]; data != nil {
		config = fmt.Sprintf("%x", sha256.Sum256(data))
	}
	return "docker " + config
}

func cleanName(name string) string {
	for len(name) > 2 && name[:2] == "./" {
		name = name[2:]
	}
	return name
}
