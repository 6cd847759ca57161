package oci

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// ErofsLayer is containerd's media type for a layer that is an EROFS image.
const ErofsLayer types.MediaType = "application/vnd.erofs.layer.v1"

// Annotations of a layer. The first is the specification's.
const (
	TitleAnnotation   = "org.opencontainers.image.title"
	LicenceAnnotation = "org.opencontainers.image.licenses"
	OriginAnnotation  = "kios.local/origin"
)

// Layer is a layer that is an EROFS image.
type Layer struct {
	Title   string // what it is, in a word
	Origin  string // where its files come from, with versions
	Licence string // SPDX expression
	From    string // the EROFS image
}

// LayoutImage is an image of a layout. The Files of its Image are not used.
type LayoutImage struct {
	Image
	Layers []Layer // lowest first
}

// WriteLayout writes the images as an OCI image layout below dir, which is to
// be empty or absent. Layers that images share are there once.
func WriteLayout(dir string, images []LayoutImage) error {
	blobs := map[string][]byte{}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		image, err := layoutImage(&img)
		if err == nil {
			err = addBlobs(blobs, image)
		}
		if err != nil {
			return fmt.Errorf("make image %s: %w", img.Name, err)
		}
		index = mutate.AppendManifests(index, named(img.Image, image))
	}
	text, err := index.RawManifest()
	if err != nil {
		return err
	}
	blobs["index.json"] = text
	blobs["oci-layout"] = layoutVersion
	for _, name := range slices.Sorted(maps.Keys(blobs)) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, blobs[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

func layoutImage(img *LayoutImage) (v1.Image, error) {
	if err := checkName(img.Name); err != nil {
		return nil, err
	}
	var layers []mutate.Addendum
	for _, l := range img.Layers {
		data, err := os.ReadFile(l.From)
		if err != nil {
			return nil, err
		}
		layers = append(layers, mutate.Addendum{
			Layer:       static.NewLayer(data, ErofsLayer),
			MediaType:   ErofsLayer,
			History:     v1.History{CreatedBy: "kios"},
			Annotations: map[string]string{TitleAnnotation: l.Title, OriginAnnotation: l.Origin, LicenceAnnotation: l.Licence},
		})
	}
	return imageOf(img.Image, layers...)
}
