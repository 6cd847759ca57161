package importer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"kios/upstream/containerd/regular"
)

// maxEntries bounds the files of an archive, which are all looked for: it takes time.
const maxEntries = 50_000

// maxIndex bounds the lists of contents that are read into memory, and maxObjects how many
// objects they have: decoded, each takes some hundred times the memory of its two letters.
const (
	maxIndex   = 4 << 20
	maxObjects = 50_000
)

// archive is a file that brings images.
type archive struct {
	path       string
	layout     bool          // a directory whose images are used in place
	rank       int           // the higher one wins; see order.go
	compressed bool          // the file is
	id         digest.Digest // empty for a compressed archive until identify
	file       fileID        // of the file that id was made from
	names      []string      // normalized; none of a compressed archive that was never imported whole
	flaws      error         // what it brings in vain
}

// inspect reads the list of contents of an archive. Before it finds that, it reads
// headers only, so it is quick for a plain archive of any size. Nothing is known of
// a compressed archive until it has been read to the end.
func inspect(path string) (*archive, error) {
	f, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	file, err := identifyFile(f)
	if err != nil {
		return nil, err
	}
	a := &archive{path: path, file: file}
	if a.compressed, err = isCompressed(f); err != nil || a.compressed {
		return a, err
	}
	c, err := readContents(f)
	if err != nil {
		return nil, err
	}
	a.id = c.id()
	a.names, a.flaws, err = c.names()
	return a, err
}

// isCompressed looks at the first bytes of f, and leaves f at its start.
func isCompressed(f io.ReadSeeker) (bool, error) {
	head, err := bufio.NewReaderSize(f, 16).Peek(4)
	if errors.Is(err, io.EOF) {
		return false, errors.New("it is empty or too short for an archive")
	}
	if err != nil {
		return false, err
	}
	gzip, zstd := []byte{0x1f, 0x8b}, []byte{0x28, 0xb5, 0x2f, 0xfd}
	for name, magic := range map[string]string{"xz": "\xfd7zX", "bzip2": "BZh"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return false, fmt.Errorf("it is compressed with %s: use gzip or zstd", name)
		}
	}
	_, err = f.Seek(0, io.SeekStart)
	return bytes.HasPrefix(head, gzip) || bytes.HasPrefix(head, zstd), err
}

// identify returns a digest that changes whenever the archive brings something
// else: of its list of contents, which names everything else by digest, or of
// the whole file if it is compressed, which is cheaper than unpacking it.
func (a *archive) identify() (digest.Digest, error) {
	if a.id != "" {
		return a.id, nil
	}
	f, err := regular.Open(a.path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	// Before it is read: what is written meanwhile changes the file.
	if a.file, err = identifyFile(f); err != nil {
		return "", err
	}
	a.id, err = digest.FromReader(f)
	return a.id, err
}

// mayBring tells whether an image can be in the archive, by its normalized name or a
// digest, which can be in any.
func (a *archive) mayBring(name string) bool {
	unknown := a.compressed && len(a.names) == 0
	return unknown || strings.Contains(name, "sha256:") || a.brings(name)
}

// brings tells whether an image is known to be in the archive, by its normalized name.
func (a *archive) brings(name string) bool { return slices.Contains(a.names, name) }

// contents are the lists of contents that an archive can have: of an OCI
// layout, of `docker save`, or both. The OCI one goes first, as in containerd.
type contents struct{ layout, index, manifest []byte }

// readContents walks the headers of the archive to its end, and so finds
// truncated ones, too.
func readContents(r io.Reader) (*contents, error) {
	var c contents
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if n == maxEntries {
			return nil, fmt.Errorf("it has more than %d files", maxEntries)
		}
		if err != nil {
			return nil, fmt.Errorf("read tar: %w", err)
		}
		into := c.file(path.Clean(h.Name))
		if into == nil {
			continue
		}
		if *into, err = readList(tr); err != nil {
			return nil, fmt.Errorf("read %s: %w", h.Name, err)
		}
	}
	if c.index == nil && c.manifest == nil {
		return nil, errors.New("it is not an image archive: it has neither index.json nor manifest.json")
	}
	return &c, nil
}

// readList reads a list of contents, or another small file of JSON.
func readList(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxIndex+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxIndex:
		return nil, fmt.Errorf("it has more than %d bytes", maxIndex)
	case bytes.Count(text, []byte("{")) > maxObjects:
		return nil, fmt.Errorf("it lists more than %d objects", maxObjects)
	}
	return text, nil
}

// readListFile is readList of a file.
func readListFile(path string) ([]byte, error) {
	f, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := readList(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}

// file returns where the content of a file belongs, or nil if it is not a list.
func (c *contents) file(name string) *[]byte {
	switch name {
	case ocispec.ImageLayoutFile:
		return &c.layout
	case ocispec.ImageIndexFile:
		return &c.index
	case "manifest.json":
		return &c.manifest
	}
	return nil
}

func (c *contents) isOCI() bool { return c.layout != nil && c.index != nil }

func (c *contents) id() digest.Digest {
	if c.isOCI() {
		return digest.FromBytes(c.index)
	}
	return digest.FromBytes(c.manifest)
}

// names returns the names of the images in the archive, and what is wrong with others.
func (c *contents) names() (names []string, flaws, err error) {
	if c.isOCI() {
		return c.layoutNames()
	}
	return c.dockerNames()
}

func (c *contents) layoutNames() (names []string, flaws, err error) {
	var index ocispec.Index
	if err := json.Unmarshal(c.index, &index); err != nil {
		return nil, nil, fmt.Errorf("index.json: %w", err)
	}
	for _, m := range index.Manifests {
		name, err := imageName(m)
		switch {
		case err == nil:
			names = append(names, name)
		case !errors.Is(err, errUnnamed): // attestations, and platforms of an image, have no name
			flaws = errors.Join(flaws, err)
		}
	}
	if len(names) == 0 {
		return nil, nil, cmp.Or(flaws, errNoName)
	}
	return names, flaws, nil
}

func (c *contents) dockerNames() (names []string, flaws, err error) {
	var manifests []struct{ RepoTags []string }
	if err := json.Unmarshal(c.manifest, &manifests); err != nil {
		return nil, nil, fmt.Errorf("manifest.json: %w", err)
	}
	for _, m := range manifests {
		for _, tag := range m.RepoTags {
			name, err := normalize(tag)
			if err != nil {
				flaws = errors.Join(flaws, err)
				continue
			}
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil, cmp.Or(flaws, errors.New("it names no image: its manifest.json has no RepoTags"))
	}
	return names, flaws, nil
}

// imageName returns the normalized name that an index gives to a manifest. A
// bare tag, which the specification also allows, names nothing here.
func imageName(m ocispec.Descriptor) (string, error) {
	name := m.Annotations[images.AnnotationImageName]
	if name == "" {
		name = m.Annotations[ocispec.AnnotationRefName]
		switch {
		case name == "":
			return "", errUnnamed
		case !strings.ContainsAny(name, "/:@"):
			return "", fmt.Errorf("the image %q: %w", name, errNoName)
		}
	}
	return normalize(name)
}
