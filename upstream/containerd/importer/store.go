package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	imagearchive "github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Labels of images. The first two are CRI's: this image is mine, and the
// kubelet must not collect it.
const (
	managedLabel = "io.cri-containerd.image"
	pinnedLabel  = "io.cri-containerd.pinned"
	// archivePrefix and the start of an archive's digest make the label of the
	// images that it brought. Its value is their number, so that a missing one
	// is noticed.
	archivePrefix = "kios.local/archive-"
)

// ingestPrefix starts the references of blobs that containerd is reading from
// an archive.
const ingestPrefix = "tar-"

// store is containerd itself.
type store struct {
	client      *containerd.Client
	snapshotter string
	updateCRI   func(ctx context.Context, ref string) error
	layersDir   string
	mountLayer  func(file, target string) error
}

func archiveLabel(id digest.Digest) string { return archivePrefix + id.Encoded()[:16] }

func inK8s(ctx context.Context) context.Context { return namespaces.WithNamespace(ctx, "k8s.io") }

// Prepare aborts half-read blobs. containerd would continue them with the
// bytes of whatever archive has a file of that name next.
func (s *store) Prepare(ctx context.Context) error {
	ctx = inK8s(ctx)
	cs := s.client.ContentStore()
	open, err := cs.ListStatuses(ctx, "")
	if err != nil {
		return err
	}
	var errs []error
	for _, st := range open {
		if strings.HasPrefix(st.Ref, ingestPrefix) {
			errs = append(errs, cs.Abort(ctx, st.Ref))
		}
	}
	return errors.Join(errs...)
}

// Has compares the images that carry the archive's label with their number in
// that label, and looks whether each is complete and unpacked.
func (s *store) Has(ctx context.Context, id digest.Digest) (bool, error) {
	ctx = inK8s(ctx)
	label := archiveLabel(id)
	found, err := s.client.ImageService().List(ctx, fmt.Sprintf("labels.%q", label))
	if err != nil || len(found) == 0 {
		return false, err
	}
	for _, i := range found {
		if i.Labels[label] != strconv.Itoa(len(found)) {
			return false, nil
		}
		if ok, err := s.complete(ctx, i); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// complete tells whether an image's blobs are there and its layers unpacked.
func (s *store) complete(ctx context.Context, i images.Image) (bool, error) {
	available, _, _, missing, err := images.Check(ctx, s.client.ContentStore(), i.Target, platforms.Default())
	if err != nil || !available || len(missing) > 0 {
		return false, err
	}
	return containerd.NewImage(s.client, i).IsUnpacked(ctx, s.snapshotter)
}

// Import reads the archive into the content store, unpacks its images and only
// then names them. A lease protects all of it until the names do.
func (s *store) Import(ctx context.Context, path string, id digest.Digest) ([]string, error) {
	ctx, release, err := s.client.WithLease(inK8s(ctx), leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		return nil, err
	}
	defer release(context.WithoutCancel(ctx))
	index, err := s.read(ctx, path)
	if err != nil {
		// A second error would only hide the first.
		s.Prepare(context.WithoutCancel(ctx))
		return nil, err
	}
	found, err := s.images(ctx, index)
	if err != nil {
		return nil, err
	}
	for _, i := range found {
		if err := s.unpack(ctx, i); err != nil {
			return nil, fmt.Errorf("image %s: %w", i.Name, err)
		}
	}
	return s.nameAll(ctx, found, id)
}

// nameAll names the images that the archive id brought, and returns their names.
func (s *store) nameAll(ctx context.Context, found []images.Image, id digest.Digest) ([]string, error) {
	var names []string
	for _, i := range found {
		i.Labels = map[string]string{archiveLabel(id): strconv.Itoa(len(found))}
		if err := s.name(ctx, i); err != nil {
			return nil, fmt.Errorf("image %s: %w", i.Name, err)
		}
		names = append(names, i.Name)
	}
	return names, nil
}

// read stores every blob of the archive and returns its index, which
// containerd makes up for `docker save` files.
func (s *store) read(ctx context.Context, path string) (ocispec.Descriptor, error) {
	f, err := os.Open(path)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer f.Close()
	stream, err := compression.DecompressStream(f)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer stream.Close()
	return imagearchive.ImportIndex(ctx, s.client.ContentStore(), stream)
}

// images returns the images of this machine's platform that the index names,
// and marks what each refers to, for the garbage collector.
func (s *store) images(ctx context.Context, index ocispec.Descriptor) ([]images.Image, error) {
	cs := s.client.ContentStore()
	blob, err := content.ReadBlob(ctx, cs, index)
	if err != nil {
		return nil, err
	}
	var list ocispec.Index
	if err := json.Unmarshal(blob, &list); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	found, err := named(list)
	if err != nil {
		return nil, err
	}
	handler := images.SetChildrenLabels(cs, images.FilterPlatforms(images.ChildrenHandler(cs), platforms.Default()))
	var out []images.Image
	for _, name := range slices.Sorted(maps.Keys(found)) {
		target := found[name]
		if err := images.WalkNotEmpty(ctx, handler, target); err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
		out = append(out, images.Image{Name: name, Target: target})
	}
	return out, nil
}

// named returns the manifests that have a name and are for this machine, by name.
func named(list ocispec.Index) (map[string]ocispec.Descriptor, error) {
	found := map[string]ocispec.Descriptor{}
	reason := errNoName
	for _, m := range list.Manifests {
		name, err := imageName(m)
		if err != nil {
			continue
		}
		if m.Platform != nil && !platforms.Default().Match(*m.Platform) {
			reason = fmt.Errorf("image %s is for %s: this machine is %s", name, platforms.Format(*m.Platform), platforms.DefaultString())
			continue
		}
		found[name] = m
	}
	if len(found) == 0 {
		return nil, reason
	}
	return found, nil
}

// unpack makes the image's snapshot. Afterwards it is on disk: see package
// differ.
func (s *store) unpack(ctx context.Context, i images.Image) error {
	available, _, _, missing, err := images.Check(ctx, s.client.ContentStore(), i.Target, platforms.Default())
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("blob %s is not in the archive", missing[0].Digest)
	}
	if !available {
		return fmt.Errorf("it has nothing for this machine, %s", platforms.DefaultString())
	}
	return containerd.NewImage(s.client, i).Unpack(ctx, s.snapshotter)
}

// name creates the image's three records, its name last because that one
// carries the archive's label, and tells CRI about each.
func (s *store) name(ctx context.Context, i images.Image) error {
	config, err := i.Config(ctx, s.client.ContentStore(), platforms.Default())
	if err != nil {
		return err
	}
	refs := []string{config.Digest.String()}
	if named, err := reference.ParseDockerRef(i.Name); err == nil {
		if byDigest := reference.TrimNamed(named).Name() + "@" + i.Target.Digest.String(); byDigest != i.Name {
			refs = append(refs, byDigest)
		}
	}
	for _, ref := range refs {
		if err := s.record(ctx, images.Image{Name: ref, Target: i.Target}); err != nil {
			return err
		}
	}
	return s.record(ctx, i)
}

// record creates or replaces one record. Labels of other archives stay if they
// brought the same image.
func (s *store) record(ctx context.Context, i images.Image) error {
	is := s.client.ImageService()
	labels := map[string]string{managedLabel: "managed", pinnedLabel: "pinned"}
	maps.Copy(labels, i.Labels)
	old, err := is.Get(ctx, i.Name)
	switch {
	case errdefs.IsNotFound(err):
		i.Labels = labels
		_, err = is.Create(ctx, i)
	case err == nil:
		if old.Target.Digest == i.Target.Digest {
			for k, v := range old.Labels {
				if strings.HasPrefix(k, archivePrefix) && labels[k] == "" {
					labels[k] = v
				}
			}
		}
		i.Labels = labels
		_, err = is.Update(ctx, i, "target", "labels")
	}
	if err != nil {
		return fmt.Errorf("record %s: %w", i.Name, err)
	}
	// CRI also hears of it by an event, but later than we say that it is there.
	return s.updateCRI(ctx, i.Name)
}
