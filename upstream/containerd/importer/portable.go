package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/containerd/v2/core/images"
	layers "github.com/containerd/containerd/v2/pkg/archive"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A layout's images are in overlayfs only. The image of sandboxes has to be elsewhere, too,
// where a runtime has a snapshotter of its own, because each pod's sandbox is of its
// runtime: then its files are made a layer of the ordinary kind, which any snapshotter
// unpacks when it is asked for the image.

// maxPortable bounds such a layer, which is made in memory. The node's own has 2 KiB.
const maxPortable = 1 << 20

// portableImage is an image with its layers as blobs.
type portableImage struct {
	*bundled
	blobs [][]byte
	descs []ocispec.Descriptor
}

// makePortable makes the ordinary image of one whose layers are mounted.
func (s *store) makePortable(ctx context.Context, b *bundled) (*portableImage, error) {
	p := &portableImage{bundled: &bundled{name: b.name}}
	var diffs []digest.Digest
	for _, l := range b.layers {
		var tar limited
		if err := layers.WriteDiff(ctx, &tar, "", s.mountPoint(l)); err != nil {
			return nil, fmt.Errorf("read layer %s: %w", l, err)
		}
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(tar.Bytes()), Size: int64(tar.Len())}
		p.blobs, p.descs, diffs = append(p.blobs, tar.Bytes()), append(p.descs, desc), append(diffs, desc.Digest)
	}
	var config ocispec.Image
	if err := json.Unmarshal(b.config, &config); err != nil {
		return nil, err
	}
	config.RootFS.DiffIDs = diffs
	p.chains = identity.ChainIDs(append([]digest.Digest(nil), diffs...))
	var err error
	if p.config, err = json.Marshal(config); err != nil {
		return nil, err
	}
	p.configDesc = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(p.config), Size: int64(len(p.config))}
	manifest := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: p.configDesc, Layers: p.descs}
	manifest.SchemaVersion = 2
	if p.manifest, err = json.Marshal(manifest); err != nil {
		return nil, err
	}
	p.target = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(p.manifest), Size: int64(len(p.manifest))}
	return p, nil
}

// limited is a buffer that does not take more than maxPortable.
type limited struct{ bytes.Buffer }

func (l *limited) Write(data []byte) (int, error) {
	if l.Len()+len(data) > maxPortable {
		return 0, fmt.Errorf("it has more than %d bytes", maxPortable)
	}
	return l.Buffer.Write(data)
}

// isPortable reports whether all that placePortable makes is there.
func (s *store) isPortable(ctx context.Context, dir string, p *portableImage) (bool, error) {
	if ok, err := s.isPlaced(ctx, dir, p.bundled); !ok || err != nil {
		return false, err
	}
	return s.complete(ctx, images.Image{Name: p.name, Target: p.target})
}

// placePortable stores, unpacks and records a portable image. A lease protects what it
// consists of until its name does.
func (s *store) placePortable(ctx context.Context, dir string, p *portableImage) error {
	for i, desc := range p.descs {
		if err := s.writeBlob(ctx, desc, p.blobs[i], "kios.local/portable", "layer"); err != nil {
			return err
		}
	}
	if err := s.writeBlobs(ctx, p.bundled); err != nil {
		return err
	}
	i := images.Image{Name: p.name, Target: p.target, Labels: map[string]string{placeLabel: dir}}
	if err := s.mark(ctx, i); err != nil {
		return err
	}
	if err := s.image(i).Unpack(ctx, s.snapshotter); err != nil {
		return err
	}
	return s.nameInPlace(ctx, dir, p.bundled)
}
