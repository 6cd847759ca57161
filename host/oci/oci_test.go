package oci

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"kios/test/lab"
)

func example(t *testing.T) Image {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	lab.Must(t, os.WriteFile(program, []byte("\x7fELF"), 0o600))
	return Image{
		Name:         "kios.local/example:1",
		Architecture: "amd64",
		Files: []File{
			{Path: "/usr/bin/program", Mode: fs.ModeSetuid | 0o555, From: program},
			{Path: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0::/:\n")},
			{Path: "/bin", Mode: fs.ModeSymlink, Data: []byte("usr/bin")},
			{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		},
		Entrypoint: []string{"/usr/bin/program"},
		Cmd:        []string{"-v"},
		Env:        []string{"A=b"},
		User:       "65534:65534",
		Labels:     map[string]string{"z": "1", "a": "2"},
	}
}

func write(t *testing.T, img Image) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image.tar")
	lab.Must(t, Write(out, img))
	return out
}

func TestWriteIsReproducible(t *testing.T) {
	one, err := os.ReadFile(write(t, example(t)))
	lab.Must(t, err)
	img := example(t) // the file's path and times differ, and the order here:
	img.Files[0], img.Files[3] = img.Files[3], img.Files[0]
	two, err := os.ReadFile(write(t, img))
	lab.Must(t, err)
	if !bytes.Equal(one, two) {
		t.Error("two archives of the same image differ")
	}
}

// Reads the archive with go-containerregistry, which checks that manifests,
// sizes and media types fit together. It cannot look into layers that are not
// compressed, so their digests are checked here.
func TestWriteIsValid(t *testing.T) {
	dir := unpack(t, write(t, example(t)))
	checkBlobs(t, dir)
	index, err := layout.ImageIndexFromPath(dir)
	lab.Must(t, err)
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	lab.Must(t, err)
	if len(manifest.Manifests) != 1 {
		t.Fatalf("%d images, want 1", len(manifest.Manifests))
	}
	d := manifest.Manifests[0]
	for _, key := range []string{"org.opencontainers.image.ref.name", "io.containerd.image.name"} {
		if got := d.Annotations[key]; got != "kios.local/example:1" {
			t.Errorf("annotation %s = %q, want the image's name", key, got)
		}
	}
	if got := d.Platform.String(); got != "linux/amd64" {
		t.Errorf("platform = %s, want linux/amd64", got)
	}
	image, err := index.Image(d.Digest)
	lab.Must(t, err)
	checkConfig(t, image)
	checkLayer(t, image)
}

// checkBlobs checks that each blob is named by its digest.
func checkBlobs(t *testing.T, dir string) {
	t.Helper()
	blobs, _ := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if len(blobs) != 3 {
		t.Errorf("%d blobs, want manifest, config and layer", len(blobs))
	}
	for _, path := range blobs {
		content, err := os.ReadFile(path)
		lab.Must(t, err)
		if got := fmt.Sprintf("%x", sha256.Sum256(content)); got != filepath.Base(path) {
			t.Errorf("blob %s has digest %s", filepath.Base(path), got)
		}
	}
}

func checkConfig(t *testing.T, image v1.Image) {
	t.Helper()
	config, err := image.ConfigFile()
	lab.Must(t, err)
	want := v1.Config{
		Entrypoint: []string{"/usr/bin/program"}, Cmd: []string{"-v"}, Env: []string{"A=b"},
		User: "65534:65534", Labels: map[string]string{"z": "1", "a": "2"},
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("config, want -, got +:\n%s", diff)
	}
}

func checkLayer(t *testing.T, image v1.Image) {
	t.Helper()
	layers, err := image.Layers()
	lab.Must(t, err)
	if len(layers) != 1 {
		t.Fatalf("%d layers, want 1", len(layers))
	}
	digest, _ := layers[0].Digest()
	if diffID, _ := layers[0].DiffID(); diffID != digest {
		t.Errorf("the layer's content is %s and its blob %s, want the same", diffID, digest)
	}
	r, err := layers[0].Uncompressed()
	lab.Must(t, err)
	var got []string
	eachEntry(t, r, func(h *tar.Header, content []byte) {
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s belongs to %d:%d and is from %s", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		got = append(got, h.FileInfo().Mode().String()+" "+h.Name+" "+h.Linkname+string(content))
	})
	want := []string{
		"Lrwxrwxrwx bin usr/bin",
		"drwxr-xr-x etc/ ",
		"-rw-r--r-- etc/passwd root:x:0:0::/:\n",
		"dtrwxrwxrwx tmp/ ",
		"drwxr-xr-x usr/ ",
		"drwxr-xr-x usr/bin/ ",
		"ur-xr-xr-x usr/bin/program \x7fELF",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the layer, want -, got +:\n%s", diff)
	}
}

// images is an index of the example for each architecture, with different programs.
func images(t *testing.T) (all []Image) {
	t.Helper()
	for _, architecture := range []string{"amd64", "arm64"} {
		img := example(t)
		img.Architecture = architecture
		img.Files = append(img.Files, File{Path: "/architecture", Mode: 0o444, Data: []byte(architecture)})
		all = append(all, img)
	}
	return all
}

func writeIndex(t *testing.T, name string, images []Image) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image.tar")
	lab.Must(t, WriteIndex(out, name, images))
	return out
}

// An archive for several architectures is read as TestWriteIsValid reads one: its index.json
// names an index, and that one the images.
func TestWriteIndex(t *testing.T) {
	outer, err := layout.ImageIndexFromPath(unpack(t, writeIndex(t, "kios.local/both:1", images(t))))
	lab.Must(t, err)
	if err := validate.Index(outer, validate.Fast); err != nil {
		t.Error(err)
	}
	manifest, err := outer.IndexManifest()
	lab.Must(t, err)
	if len(manifest.Manifests) != 1 || !manifest.Manifests[0].MediaType.IsIndex() {
		t.Fatalf("index.json names %v, want one index", manifest.Manifests)
	}
	for _, key := range []string{"org.opencontainers.image.ref.name", "io.containerd.image.name"} {
		if got := manifest.Manifests[0].Annotations[key]; got != "kios.local/both:1" {
			t.Errorf("annotation %s = %q, want the image's name", key, got)
		}
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	lab.Must(t, err)
	if got, want := platforms(t, index), []string{"linux/amd64", "linux/arm64"}; !slices.Equal(got, want) {
		t.Errorf("the index has images for %q, want %q", got, want)
	}
}

// platforms are those that an index names, which the images' configurations must confirm.
func platforms(t *testing.T, index v1.ImageIndex) (all []string) {
	t.Helper()
	manifest, err := index.IndexManifest()
	lab.Must(t, err)
	for _, d := range manifest.Manifests {
		image, err := index.Image(d.Digest)
		lab.Must(t, err)
		config, err := image.ConfigFile()
		lab.Must(t, err)
		checkConfig(t, image)
		if got := config.Platform().String(); got != d.Platform.String() {
			t.Errorf("the image for %s says that it is for %s", d.Platform, got)
		}
		all = append(all, d.Platform.String())
	}
	return all
}

func TestWriteIndexIsReproducible(t *testing.T) {
	one := lab.ReadFile(t, writeIndex(t, "kios.local/both:1", images(t)))
	if two := lab.ReadFile(t, writeIndex(t, "kios.local/both:1", images(t))); one != two {
		t.Error("two archives of the same images differ")
	}
}

func TestWriteIndexRefuses(t *testing.T) {
	for want, images := range map[string][]Image{
		"it has no image":                 nil,
		"two of its images are for arm64": {{Architecture: "arm64"}, {Architecture: "arm64"}},
		"its architecture is not given":   {{}},
	} {
		out := filepath.Join(t.TempDir(), "image.tar")
		if err := WriteIndex(out, "kios.local/x:1", images); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("WriteIndex = %v, want an error with %q", err, want)
		}
		if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a file was written: %v", err)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	file := File{Path: "/a", Mode: 0o644}
	for _, tc := range []struct {
		name, want string
		img        Image
	}{
		{"no name", "must be of the form", Image{}},
		{"no registry", "must be of the form", Image{Name: "pause:1"}},
		{"no tag", "must be of the form", Image{Name: "kios.local/pause"}},
		{"no architecture", "its architecture is not given", Image{Name: "kios.local/x:1"}},
		{"a path twice", "/a is listed twice", Image{Name: "kios.local/x:1", Architecture: "amd64", Files: []File{file, {Path: "a/../a"}}}},
		{"no path", "has no path", Image{Name: "kios.local/x:1", Architecture: "amd64", Files: []File{{Path: "/"}}}},
		{"file as directory", "/a is a file", Image{Name: "kios.local/x:1", Architecture: "amd64", Files: []File{file, {Path: "/a/b"}}}},
		{"device", "not supported", Image{Name: "kios.local/x:1", Architecture: "amd64", Files: []File{{Path: "/d", Mode: fs.ModeDevice}}}},
		{"missing source", "no-such-file", Image{Name: "kios.local/x:1", Architecture: "amd64", Files: []File{{Path: "/a", From: "/no-such-file"}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "image.tar")
			if err := Write(out, tc.img); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Write = %v, want an error with %q", err, tc.want)
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a file was written: %v", err)
			}
		})
	}
}

// unpack unpacks an archive into a directory.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	f, err := os.Open(archive)
	lab.Must(t, err)
	defer f.Close()
	dir := t.TempDir()
	eachEntry(t, f, func(h *tar.Header, content []byte) {
		target := filepath.Join(dir, h.Name)
		lab.Must(t, os.MkdirAll(filepath.Dir(target), 0o755))
		lab.Must(t, os.WriteFile(target, content, 0o644))
	})
	return dir
}

func eachEntry(t *testing.T, r io.Reader, do func(*tar.Header, []byte)) {
	t.Helper()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return
		}
		lab.Must(t, err)
		content, err := io.ReadAll(tr)
		lab.Must(t, err)
		do(h, content)
	}
}
