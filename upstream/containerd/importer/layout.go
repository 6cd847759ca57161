package importer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"kios/upstream/containerd/regular"
)

// The images of the OS are an OCI image layout whose layers are EROFS images, and
// a user may bring such layouts, too. They are used where they are: each layer is
// mounted, and the snapshot that stands for it is a symbolic link to the mount.
// Nothing is copied, hashed or unpacked, neither at the first boot of a machine nor
// in the memory of one without a disk. Pods that share a layer share its page cache.
//
// The layers of the OS are as trustworthy as the kernel beside them, and those of
// a user as the data partition, like images that are unpacked.

// layersDir is where the layers are mounted on a node, each in a directory named
// by its digest.
const layersDir = "/run/kios/layers"

// Labels of what is used in place.
const (
	// placeLabel is the directory of an image's layout, so that images whose
	// layout is gone can be found.
	placeLabel = "kios.local/layout"
	// nameLabel is an image's name, where it is recorded by its id.
	nameLabel = "kios.local/name"
	// linkLabel of a snapshot is the path of its symbolic link.
	linkLabel = "kios.local/link"
)

// isLayout reports whether dir is an OCI image layout.
func isLayout(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, ocispec.ImageLayoutFile))
	return err == nil
}

// inspectLayout reads the names of a layout's images. It returns the sandbox's
// image, for which every pod waits, and the rest, which can come later.
func inspectLayout(dir, sandbox string) (first, rest *archive, err error) {
	text, err := readListFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if err != nil {
		return nil, nil, err
	}
	c := contents{index: text}
	names, flaws, err := c.layoutNames()
	if err != nil {
		return nil, nil, err
	}
	first, rest = &archive{path: dir, layout: true}, &archive{path: dir, layout: true, flaws: flaws}
	for _, name := range names {
		to := rest
		if name == sandbox {
			to = first
		}
		to.names = append(to.names, name)
	}
	return first, rest, nil
}

// bundled is an image of a layout.
type bundled struct {
	name             string
	target           ocispec.Descriptor
	manifest, config []byte
	configDesc       ocispec.Descriptor
	layers           []digest.Digest // what to mount, lowest first
	chains           []digest.Digest // what the snapshots are called
}

// Place makes those images of the layout in dir known that have one of the
// names. It reports whether anything was new.
func (s *store) Place(ctx context.Context, dir string, names []string) (changed bool, err error) {
	ctx = inK8s(ctx)
	all, err := readLayout(dir)
	errs := []error{err} // of single images: the others are placed
	var missing []placer
	for _, b := range all {
		// The layers of all, whatever the names: those of images that an earlier
		// boot recorded are asked for at once.
		if err := s.mountLayers(dir, b); err != nil {
			errs = append(errs, fmt.Errorf("image %s: %w", b.name, err))
			continue
		}
		if !slices.Contains(names, b.name) {
			continue
		}
		place, err := s.missing(ctx, dir, b)
		if err != nil {
			errs = append(errs, fmt.Errorf("image %s: %w", b.name, err))
		} else if place != nil {
			missing = append(missing, placer{b.name, place})
		}
	}
	errs = append(errs, s.place(ctx, missing))
	return len(missing) > 0, errors.Join(errs...)
}

// Differ returns those of the names by which a layout has another image, or by which
// there is none.
func (s *store) Differ(ctx context.Context, dir string, names []string) (others []string, err error) {
	index, err := readIndex(dir)
	if err != nil {
		return nil, err
	}
	ctx = inK8s(ctx)
	for _, m := range index.Manifests {
		name, err := imageName(m)
		if err != nil || !slices.Contains(names, name) {
			continue
		}
		i, err := s.client.ImageService().Get(ctx, name)
		if ignoreNotFound(err) != nil {
			return nil, err
		}
		if i.Target.Digest != m.Digest {
			others = append(others, name)
		}
	}
	return others, nil
}

// missing returns what makes an image known whose layers are mounted, or nil if it is.
func (s *store) missing(ctx context.Context, dir string, b *bundled) (func(context.Context) error, error) {
	if b.name != s.portable {
		if ok, err := s.isPlaced(ctx, dir, b); ok || err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return s.placeImage(ctx, dir, b) }, nil
	}
	p, err := s.makePortable(ctx, b)
	if err != nil {
		return nil, err
	}
	if ok, err := s.isPortable(ctx, dir, p); ok || err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return s.placePortable(ctx, dir, p) }, nil
}

// placer makes an image known.
type placer struct {
	name  string
	place func(context.Context) error
}

// place makes images known. A lease protects what they consist of until their names do.
func (s *store) place(ctx context.Context, all []placer) error {
	if len(all) == 0 {
		return nil
	}
	ctx, release, err := s.client.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		return err
	}
	defer release(context.WithoutCancel(ctx))
	var errs []error
	for _, p := range all {
		if err := p.place(ctx); err != nil {
			errs = append(errs, fmt.Errorf("image %s: %w", p.name, err))
		}
	}
	return errors.Join(errs...)
}

// readLayout reads the images of a layout. The error is about those that are left out.
func readLayout(dir string) ([]*bundled, error) {
	index, err := readIndex(dir)
	if err != nil {
		return nil, err
	}
	var all []*bundled
	var errs []error
	for _, desc := range index.Manifests {
		b, err := readBundled(dir, desc)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, b)
	}
	return all, errors.Join(errs...)
}

func readIndex(dir string) (*ocispec.Index, error) {
	text, err := readListFile(filepath.Join(dir, ocispec.ImageIndexFile))
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	return &index, nil
}

func readBundled(dir string, desc ocispec.Descriptor) (*bundled, error) {
	name, err := imageName(desc)
	if err != nil {
		return nil, err
	}
	b := &bundled{name: name, target: ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size}}
	if b.manifest, err = readBlob(dir, desc.Digest); err != nil {
		return nil, err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(b.manifest, &manifest); err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", name, err)
	}
	b.configDesc = manifest.Config
	if b.config, err = readBlob(dir, manifest.Config.Digest); err != nil {
		return nil, err
	}
	var config ocispec.Image
	if err := json.Unmarshal(b.config, &config); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", name, err)
	}
	if len(manifest.Layers) == 0 || len(manifest.Layers) != len(config.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%s has %d layers and %d diff IDs", name, len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	for _, l := range manifest.Layers {
		if err := l.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("%s has a layer %q: %w", name, l.Digest, err)
		}
		if l.MediaType != images.MediaTypeErofsLayer {
			return nil, fmt.Errorf("%s has a layer of type %s, want %s", name, l.MediaType, images.MediaTypeErofsLayer)
		}
		b.layers = append(b.layers, l.Digest)
	}
	b.chains = identity.ChainIDs(slices.Clone(config.RootFS.DiffIDs))
	return b, nil
}

// readBlob reads a small blob of a layout.
func readBlob(dir string, d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d, err)
	}
	return readListFile(blobPath(dir, d))
}

func blobPath(dir string, d digest.Digest) string {
	return filepath.Join(dir, ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// mountPoint is where a layer is mounted.
func (s *store) mountPoint(d digest.Digest) string {
	return filepath.Join(s.layersDir, d.Encoded())
}

// mountLayer mounts a layer from its file, unless an earlier start did.
func mountLayer(file, target string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err == nil && st.Type == unix.EROFS_SUPER_MAGIC_V1 {
		return nil
	}
	// The kernel opens the file as open(2) does, and would wait for the writer of a FIFO.
	f, err := regular.Open(file)
	if err != nil {
		return err
	}
	f.Close()
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount(file, target, "erofs", flags, ""); err != nil {
		return fmt.Errorf("mount layer %s on %s: %w", file, target, err)
	}
	return nil
}

func (s *store) placeImage(ctx context.Context, dir string, b *bundled) error {
	if err := s.writeBlobs(ctx, b); err != nil {
		return err
	}
	for i := range b.layers {
		if err := s.link(ctx, b, i); err != nil {
			return err
		}
	}
	return s.nameInPlace(ctx, dir, b)
}

// nameInPlace creates the image's two records. Volumes ask for an image by its id, which
// CRI knows as soon as it knows the name.
func (s *store) nameInPlace(ctx context.Context, dir string, b *bundled) error {
	labels := map[string]string{placeLabel: dir, nameLabel: b.name}
	if err := s.write(ctx, images.Image{Name: b.id(), Target: b.target, Labels: labels}); err != nil {
		return err
	}
	return s.record(ctx, images.Image{Name: b.name, Target: b.target, Labels: map[string]string{placeLabel: dir}})
}

// id is what CRI calls the image.
func (b *bundled) id() string { return b.configDesc.Digest.String() }

func (s *store) mountLayers(dir string, b *bundled) error {
	for _, l := range b.layers {
		if err := s.mountLayer(blobPath(dir, l), s.mountPoint(l)); err != nil {
			return err
		}
	}
	return nil
}

// isPlaced reports whether all that placeImage makes is there and right, from an
// earlier boot.
func (s *store) isPlaced(ctx context.Context, dir string, b *bundled) (bool, error) {
	i, err := s.client.ImageService().Get(ctx, b.name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if i.Target.Digest != b.target.Digest || i.Labels[placeLabel] != dir {
		return false, nil
	}
	// It may be another layout's, with the same image.
	if i, err = s.client.ImageService().Get(ctx, b.id()); err != nil || i.Target.Digest != b.target.Digest {
		return false, ignoreNotFound(err)
	}
	for _, d := range []digest.Digest{b.target.Digest, b.configDesc.Digest} {
		if _, err := s.client.ContentStore().Info(ctx, d); err != nil {
			return false, ignoreNotFound(err)
		}
	}
	for n := range b.layers {
		if ok, err := s.isLinked(ctx, b, n); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

func ignoreNotFound(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// isLinked reports whether the snapshot of a layer is there and leads to it.
func (s *store) isLinked(ctx context.Context, b *bundled, n int) (bool, error) {
	info, err := s.client.SnapshotService(s.snapshotter).Stat(ctx, b.chains[n].String())
	if err != nil {
		return false, ignoreNotFound(err)
	}
	target, err := os.Readlink(info.Labels[linkLabel])
	return err == nil && target == s.mountPoint(b.layers[n]), nil
}

// writeBlobs stores the two small blobs, with labels by which the garbage
// collector finds the one from the other, and the snapshots from there.
func (s *store) writeBlobs(ctx context.Context, b *bundled) error {
	top := b.chains[len(b.chains)-1].String()
	for _, blob := range []struct {
		desc         ocispec.Descriptor
		data         []byte
		label, value string
	}{
		{b.configDesc, b.config, "containerd.io/gc.ref.snapshot." + s.snapshotter, top},
		{b.target, b.manifest, "containerd.io/gc.ref.content.config", b.configDesc.Digest.String()},
	} {
		if err := s.writeBlob(ctx, blob.desc, blob.data, blob.label, blob.value); err != nil {
			return err
		}
	}
	return nil
}

// writeBlob stores a blob with a label. If the blob is there already, from an
// archive perhaps, it gets the label only.
func (s *store) writeBlob(ctx context.Context, desc ocispec.Descriptor, data []byte, label, value string) error {
	cs := s.client.ContentStore()
	labels := map[string]string{label: value}
	if info, err := cs.Info(ctx, desc.Digest); err == nil {
		if info.Labels[label] == value {
			return nil
		}
		if _, err := cs.Update(ctx, content.Info{Digest: desc.Digest, Labels: labels}, "labels."+label); err != nil {
			return fmt.Errorf("label %s: %w", desc.Digest, err)
		}
		return nil
	}
	err := content.WriteBlob(ctx, cs, "kios-"+desc.Digest.Encoded(), bytes.NewReader(data), desc, content.WithLabels(labels))
	if err != nil {
		return fmt.Errorf("store %s: %w", desc.Digest, err)
	}
	return nil
}

// link makes the snapshot of a layer, or mends one whose link is lost.
func (s *store) link(ctx context.Context, b *bundled, n int) error {
	if ok, err := s.isLinked(ctx, b, n); ok || err != nil {
		return err
	}
	sn := s.client.SnapshotService(s.snapshotter)
	if info, err := sn.Stat(ctx, b.chains[n].String()); err == nil {
		link := info.Labels[linkLabel]
		if link == "" {
			// The same layer came unpacked, in an archive: that will do.
			return nil
		}
		return replaceByLink(link, s.mountPoint(b.layers[n]))
	}
	return s.makeLink(ctx, b, n)
}

// makeLink makes the snapshot of a layer. What Prepare made becomes the link.
func (s *store) makeLink(ctx context.Context, b *bundled, n int) error {
	sn, parent := s.client.SnapshotService(s.snapshotter), ""
	if n > 0 {
		parent = b.chains[n-1].String()
	}
	key := fmt.Sprintf("kios-%s-%d", b.chains[n].Encoded()[:16], time.Now().UnixNano())
	mounts, err := sn.Prepare(ctx, key, parent)
	if err != nil {
		return fmt.Errorf("prepare a snapshot: %w", err)
	}
	dir, err := directory(mounts)
	if err == nil {
		err = replaceByLink(dir, s.mountPoint(b.layers[n]))
	}
	if err == nil {
		err = sn.Commit(ctx, b.chains[n].String(), key, snapshots.WithLabels(map[string]string{linkLabel: dir}))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make the snapshot of layer %d: %w", n, err), sn.Remove(ctx, key))
	}
	return nil
}

// directory returns where what is written to a prepared snapshot goes.
func directory(mounts []mount.Mount) (string, error) {
	if len(mounts) == 1 && mounts[0].Type == "bind" {
		return mounts[0].Source, nil
	}
	for _, m := range mounts {
		for _, option := range m.Options {
			if dir, found := strings.CutPrefix(option, "upperdir="); found {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("the snapshotter's mounts %v name no directory", mounts)
}

// replaceByLink makes path, an empty directory or a link, a link to target.
func replaceByLink(path, target string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, path)
}

// Forget removes the images whose layouts are not among dirs any more, or have
// another version of them: their layers are gone.
func (s *store) Forget(ctx context.Context, dirs []string) error {
	ctx = inK8s(ctx)
	is := s.client.ImageService()
	old, err := is.List(ctx, fmt.Sprintf("labels.%q", placeLabel))
	if err != nil || len(old) == 0 {
		return err
	}
	current := map[string]*ocispec.Index{}
	var errs []error
	for _, dir := range dirs {
		if current[dir], err = readIndex(dir); err != nil {
			errs = append(errs, err) // its images stay: it is there
		}
	}
	for _, i := range old {
		if index, found := current[i.Labels[placeLabel]]; found && (index == nil || s.lists(index, i)) {
			continue
		}
		if err := is.Delete(ctx, i.Name); ignoreNotFound(err) != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.updateCRI(ctx, i.Name))
	}
	return errors.Join(errs...)
}

// lists reports whether an image is one of the index: the portable one by its name.
func (s *store) lists(index *ocispec.Index, i images.Image) bool {
	recorded := cmp.Or(i.Labels[nameLabel], i.Name)
	return slices.ContainsFunc(index.Manifests, func(m ocispec.Descriptor) bool {
		name, err := imageName(m)
		return m.Digest == i.Target.Digest || err == nil && name == recorded && name == s.portable
	})
}
