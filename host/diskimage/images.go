package diskimage

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
)

// sandboxImage is the image of each pod's sandbox. It is part of the OS, and a node uses
// no other one.
const sandboxImage = "kios.local/pause:1"

// checkImages refuses images that a node would not use: of two that have the same name,
// it uses one, and only its console says so.
func (o *Options) checkImages(ctx context.Context) error {
	owners := map[string]owner{}
	for _, path := range o.OCI {
		images, err := readImages(ctx, path)
		if err != nil {
			return err
		}
		for _, i := range images {
			if i.content == "" {
				continue
			}
			if err := claim(owners, i, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// owner is the archive that brings an image, and what that is.
type owner struct{ path, content string }

// claim notes that an archive brings an image. In one archive, the last of a name is meant.
func claim(owners map[string]owner, i namedImage, path string) error {
	full := fullName(i.name)
	other, taken := owners[full]
	switch {
	case full == sandboxImage:
		return fmt.Errorf("%s has an image %s, but each pod needs the image of that name that is part of the OS: give yours another name, or leave it out", path, i.name)
	case taken && other.path != path && other.content != i.content:
		return fmt.Errorf("%s and %s have different images of the name %s, of which a node uses only one: leave out one of the two, or give it another name", other.path, path, i.name)
	}
	owners[full] = owner{path, i.content}
	return nil
}

// fullName is a name as the node completes it, with a registry and a tag.
func fullName(short string) string {
	ref, err := name.ParseReference(short, name.WeakValidation)
	if err != nil {
		return short // the node says what is wrong with it
	}
	return ref.Name()
}
