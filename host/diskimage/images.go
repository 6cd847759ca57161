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
// it uses one, and only its console says so. It notes those that are for another platform,
// if no archive has one of that name for the node's.
func (o *Options) checkImages(ctx context.Context) error {
	owners := map[string]owner{}
	var others []foreignImage
	for _, path := range o.OCI {
		images, err := readImages(ctx, path, platformOf(o.Arch))
		if err != nil {
			return err
		}
		for _, i := range images {
			if i.content == "" {
				others = append(others, foreignImage{path, i})
				continue
			}
			if err := claim(owners, i, path); err != nil {
				return err
			}
		}
	}
	o.noteForeign(others, owners)
	return nil
}

// foreignImage is an image of an archive that is for another platform.
type foreignImage struct {
	path string
	namedImage
}

// noteForeign says which names a node will not find. An attestation has no platform.
func (o *Options) noteForeign(images []foreignImage, owners map[string]owner) {
	for _, i := range images {
		if _, found := owners[fullName(i.name)]; found || len(i.platforms) == 0 || o.Note == nil {
			continue
		}
		has := "is only listed there"
		if others := present(i.platforms); len(others) > 0 {
			has = "is only for " + list(others)
		}
		o.Note(fmt.Sprintf("image %s of %s %s: this node, which is %s, will not have it", i.name, i.path, has, o.Arch.Name))
	}
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
