package inspect

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"kios/host/cpio"
	"kios/host/oci"
)

// layoutName is the directory of the initrd that holds the images of the OS.
const layoutName = "images/"

// readImages lists the images of the OS. It returns the titles of the layers by
// the names of their entries.
func (r *Report) readImages(initrd *io.SectionReader, entries []cpio.Entry) (titles map[string]string, err error) {
	l := layout{initrd, map[string]cpio.Entry{}}
	for _, e := range entries {
		if name, found := strings.CutPrefix(e.Name, layoutName); found {
			l.entries[name] = e
		}
	}
	if len(l.entries) == 0 {
		return nil, nil
	}
	var index v1.IndexManifest
	if err := l.read("index.json", &index); err != nil {
		return nil, err
	}
	titles = map[string]string{}
	for _, desc := range index.Manifests {
		image, err := l.image(desc)
		if err != nil {
			return nil, err
		}
		for _, layer := range image.Layers {
			titles[layoutName+blobName(layer.Digest)] = layer.Title
		}
		r.Images = append(r.Images, image)
	}
	return titles, nil
}

// layout is an OCI image layout in the initrd.
type layout struct {
	initrd  *io.SectionReader
	entries map[string]cpio.Entry
}

func (l layout) read(name string, into any) error {
	e, found := l.entries[name]
	if !found {
		return fmt.Errorf("/%s%s is missing", layoutName, name)
	}
	if err := json.NewDecoder(io.NewSectionReader(l.initrd, e.Offset, e.Size)).Decode(into); err != nil {
		return fmt.Errorf("/%s%s: %w", layoutName, name, err)
	}
	return nil
}

func (l layout) image(desc v1.Descriptor) (Image, error) {
	image := Image{Name: desc.Annotations["io.containerd.image.name"]}
	var m v1.Manifest
	if err := l.read(blobName(desc.Digest.String()), &m); err != nil {
		return image, err
	}
	for _, d := range m.Layers {
		digest := d.Digest.String()
		e, found := l.entries[blobName(digest)]
		if !found {
			return image, fmt.Errorf("layer %s of %s is missing", digest, image.Name)
		}
		image.Layers = append(image.Layers, Layer{
			Title: d.Annotations[oci.TitleAnnotation], Digest: digest, Size: e.Size,
			Origin: d.Annotations[oci.OriginAnnotation], Licence: d.Annotations[oci.LicenceAnnotation],
		})
	}
	return image, nil
}

// blobName is the name in a layout of the blob with a digest.
func blobName(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// partOf says what an entry of the initrd is, for the list of sizes.
func partOf(name string, titles map[string]string) string {
	switch {
	case titles[name] != "":
		return "images: layer " + titles[name]
	case strings.HasPrefix(name, layoutName):
		return "images: manifests and configurations"
	case name == "modules.erofs":
		return "kernel modules (/modules.erofs)"
	}
	return "initrd: /" + name
}
