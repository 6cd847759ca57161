// Package differ is containerd's walking differ with one setting fixed: a
// layer is on disk before the snapshot that holds it is recorded.
//
// Upstream offers that for images pulled in one of two ways only, and without
// it a power cut soon after a pull leaves an image whose files are empty, which
// nothing ever notices or repairs. On a tmpfs it costs nothing.
package differ

import (
	"context"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	"github.com/containerd/platforms"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Register registers the differ under the name of the one that it replaces,
// which is the name that containerd's defaults ask for.
func Register() {
	registry.Register(&plugin.Registration{
		Type:     plugins.DiffPlugin,
		ID:       "walking",
		Requires: []plugin.Type{plugins.MetadataPlugin, plugins.MountManagerPlugin},
		InitFn:   newDiffer,
	})
}

func newDiffer(ic *plugin.InitContext) (any, error) {
	md, err := ic.GetSingle(plugins.MetadataPlugin)
	if err != nil {
		return nil, err
	}
	mounts, err := ic.GetSingle(plugins.MountManagerPlugin)
	if err != nil {
		return nil, err
	}
	ic.Meta.Platforms = append(ic.Meta.Platforms, platforms.DefaultSpec())
	cs := md.(*metadata.DB).ContentStore()
	return durable{
		Comparer: walking.NewWalkingDiff(cs),
		applier:  apply.NewFileSystemApplierWithMountManager(cs, mounts.(mount.Manager)),
	}, nil
}

type durable struct {
	diff.Comparer
	applier diff.Applier
}

// Apply unpacks a layer onto mounts and syncs their file system.
func (d durable) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	return d.applier.Apply(ctx, desc, mounts, append(opts, diff.WithSyncFs(true))...)
}
