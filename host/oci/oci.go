// Package oci writes an image of one layer, or one for each architecture, as an archive that
// containerd, skopeo and podman import: a tar file of an OCI image layout
// (image-spec v1.1, image-layout.md), made from data in memory and files; and,
// for the images of the OS, which are never unpacked, a layout as a directory
// with layers that are EROFS images.
//
// The same input gives the same bytes: entries are sorted, belong to root and
// have no times.
//
// The layer of an archive is not compressed. It is unpacked at each boot of a
// machine that keeps its state in memory: what gzip would add there is only the
// time to undo it.
//
// There is no reading, no registry and no base image.
package oci

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"kios/internal/wholefile"
)

// Image says what an image is to hold.
type Image struct {
	// Name is the full name, such as "kios.local/pause:1". It is what a pod's
	// manifest must say, and what the importer calls the image.
	Name         string
	Architecture string // as Go calls it
	Files        []File

	Entrypoint []string
	Cmd        []string
	Env        []string // "NAME=value"
	User       string   // "UID" or "UID:GID"; "" means root
	WorkingDir string
	Labels     map[string]string
}

// File is a file in an image. Its parent directories need not be named: they
// get mode 0755.
type File struct {
	Path string      // absolute, or relative to the root
	Mode fs.FileMode // permissions, fs.ModeSetuid, fs.ModeSticky; fs.ModeDir for a directory, fs.ModeSymlink for a link
	From string      // the file on this machine to take the content from; or
	Data []byte      // the content, or the target of a symbolic link
}

// Write writes the archive of img to the file at path. There is either a
// complete archive at path afterwards or what was there before.
func Write(path string, img Image) error {
	archive, err := build(img)
	if err != nil {
		return fmt.Errorf("make image %s: %w", img.Name, err)
	}
	if err := wholefile.Volatile(path, archive, 0o644); err != nil {
		return fmt.Errorf("write image %s: %w", img.Name, err)
	}
	return nil
}

func build(img Image) ([]byte, error) {
	image, err := Make(img)
	if err != nil {
		return nil, err
	}
	entries := map[string][]byte{}
	if err := addBlobs(entries, image); err != nil {
		return nil, err
	}
	return archive(entries, named(img, image))
}

// WriteIndex writes an archive of an image that is there for several architectures, as
// others make it: index.json names an index (image-spec v1.1, image-index.md), and that
// one the image for each platform. All have the one name.
func WriteIndex(path, name string, images []Image) error {
	archive, err := buildIndex(name, images)
	if err != nil {
		return fmt.Errorf("make image %s: %w", name, err)
	}
	if err := wholefile.Volatile(path, archive, 0o644); err != nil {
		return fmt.Errorf("write image %s: %w", name, err)
	}
	return nil
}

func buildIndex(name string, images []Image) ([]byte, error) {
	if len(images) == 0 {
		return nil, errors.New("it has no image for any architecture")
	}
	entries := map[string][]byte{}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	taken := map[string]bool{}
	for _, img := range images {
		if taken[img.Architecture] {
			return nil, fmt.Errorf("two of its images are for %s", img.Architecture)
		}
		taken[img.Architecture] = true
		img.Name = name
		image, err := Make(img)
		if err == nil {
			err = addBlobs(entries, image)
		}
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform(img)}})
	}
	text, err := index.RawManifest()
	if err == nil {
		err = addBlob(entries, text)
	}
	if err != nil {
		return nil, err
	}
	return archive(entries, mutate.IndexAddendum{Add: index, Descriptor: v1.Descriptor{Annotations: names(name)}})
}

// Make returns the image, such as for a registry.
func Make(img Image) (v1.Image, error) {
	if err := checkName(img.Name); err != nil {
		return nil, err
	}
	content, err := layer(img.Files)
	if err != nil {
		return nil, err
	}
	return imageOf(img, mutate.Addendum{
		Layer:   static.NewLayer(content, types.OCIUncompressedLayer),
		History: v1.History{CreatedBy: "kios"},
	})
}

// checkName demands a registry, a repository and a tag. A shorter name would be
// completed differently by each tool that reads it.
func checkName(name string) error {
	registry, rest, ok := strings.Cut(name, "/")
	repository, tag, tagged := strings.Cut(rest, ":")
	if !ok || !tagged || repository == "" || tag == "" || !strings.ContainsAny(registry, ".:") {
		return fmt.Errorf("name %q must be of the form registry.example/repository:tag", name)
	}
	return nil
}

func imageOf(img Image, layers ...mutate.Addendum) (v1.Image, error) {
	if img.Architecture == "" {
		return nil, errors.New("its architecture is not given")
	}
	base := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	base = mutate.ConfigMediaType(base, types.OCIConfigJSON)
	image, err := mutate.Append(base, layers...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", img.Architecture
	config.Created = v1.Time{Time: time.Unix(0, 0).UTC()} // as all times here
	config.Config = v1.Config{
		Entrypoint: img.Entrypoint,
		Cmd:        img.Cmd,
		Env:        img.Env,
		User:       img.User,
		WorkingDir: img.WorkingDir,
		Labels:     img.Labels,
	}
	return mutate.ConfigFile(image, config)
}

// archive packs the blobs into an OCI layout whose index.json has one entry.
func archive(entries map[string][]byte, entry mutate.IndexAddendum) ([]byte, error) {
	index, err := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), entry).RawManifest()
	if err != nil {
		return nil, err
	}
	entries["oci-layout"], entries["index.json"] = layoutVersion, index
	var files []File
	for name, data := range entries {
		files = append(files, File{Path: name, Mode: 0o644, Data: data})
	}
	return tarOf(files)
}

// named is an image's entry in an index.
func named(img Image, image v1.Image) mutate.IndexAddendum {
	return mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform(img), Annotations: names(img.Name)}}
}

func platform(img Image) *v1.Platform {
	return &v1.Platform{OS: "linux", Architecture: img.Architecture}
}

// names are annotations in index.json: that of the specification, which many tools take
// for the tag only, and the one that containerd reads.
func names(name string) map[string]string {
	return map[string]string{"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name}
}

var layoutVersion = []byte(`{"imageLayoutVersion":"1.0.0"}`)

// addBlobs adds an image's manifest, configuration and layers under the names that
// they have in a layout.
func addBlobs(entries map[string][]byte, image v1.Image) error {
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	blobs, err := layerBlobs(image)
	if err != nil {
		return err
	}
	for _, data := range append(blobs, manifest, config) {
		if err := addBlob(entries, data); err != nil {
			return err
		}
	}
	return nil
}

func addBlob(entries map[string][]byte, data []byte) error {
	hash, _, err := v1.SHA256(bytes.NewReader(data))
	entries["blobs/sha256/"+hash.Hex] = data
	return err
}

// layerBlobs returns an image's layers as they are stored.
func layerBlobs(image v1.Image) (blobs [][]byte, err error) {
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	for _, l := range layers {
		r, err := l.Compressed() // as it is stored: not compressed
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, data)
	}
	return blobs, nil
}

// layer returns the tar file of the image's files and their directories.
func layer(files []File) ([]byte, error) {
	all := map[string]File{}
	for _, f := range files {
		f.Path = strings.TrimPrefix(path.Clean("/"+f.Path), "/")
		if f.Path == "" {
			return nil, errors.New("a file has no path")
		}
		if _, twice := all[f.Path]; twice {
			return nil, fmt.Errorf("/%s is listed twice", f.Path)
		}
		all[f.Path] = f
	}
	for name := range all {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			f, ok := all[dir]
			if ok && !f.Mode.IsDir() {
				return nil, fmt.Errorf("/%s is a file, but also the directory of /%s", dir, name)
			}
			if !ok {
				all[dir] = File{Path: dir, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	var list []File
	for _, f := range all {
		list = append(list, f)
	}
	return tarOf(list)
}

// tarOf packs the files, sorted by path, so that a directory comes before what
// it holds.
func tarOf(files []File) ([]byte, error) {
	sort.Slice(files, func(i, j int) bool { return files[i].Path < files[j].Path })
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := addFile(w, f); err != nil {
			return nil, fmt.Errorf("add /%s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func addFile(w *tar.Writer, f File) error {
	header, data, err := entry(f)
	if err != nil {
		return err
	}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// entry returns a header without owner, time or anything else that depends on
// when and where it is made, and the content.
func entry(f File) (*tar.Header, []byte, error) {
	h := &tar.Header{Name: f.Path, Mode: tarMode(f.Mode)}
	switch {
	case f.Mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
		return h, nil, nil
	case f.Mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, string(f.Data), 0o777
		return h, nil, nil
	case f.Mode.Type() != 0:
		return nil, nil, fmt.Errorf("files of type %s are not supported", f.Mode.Type())
	}
	data, err := f.content()
	if err != nil {
		return nil, nil, err
	}
	h.Typeflag, h.Size = tar.TypeReg, int64(len(data))
	return h, data, nil
}

// tarMode returns the permissions as tar(5) has them.
func tarMode(mode fs.FileMode) int64 {
	all := int64(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		all |= 0o4000
	}
	if mode&fs.ModeSticky != 0 {
		all |= 0o1000
	}
	return all
}

func (f File) content() ([]byte, error) {
	if f.From == "" {
		return f.Data, nil
	}
	return os.ReadFile(filepath.Clean(f.From))
}
