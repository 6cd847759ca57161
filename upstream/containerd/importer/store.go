package importer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"kios/upstream/containerd/regular"
)

// Labels of images. The first two are CRI's: this image is mine, and the
// kubelet must not collect it.
const (
	managedLabel = "io.cri-containerd.image"
	pinnedLabel  = "io.cri-containerd.pinned"
	// archivePrefix and the start of an archive's digest make the label of what it
	// brought. The value at the names of its images is their number, so that a missing
	// one is noticed; that at their records by digest is byDigest, and that at a name by
	// which another archive has another image is replaced.
	archivePrefix = "kios.local/archive-"
	byDigest      = "by-digest"
	replaced      = "replaced"
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
	portable    string // the image of a layout that is made an ordinary one, or ""
	mountLayer  func(file, target string) error
}

// thisPlatform is what images are for that run here: linux/amd64, linux/arm64.
var thisPlatform = platforms.Normalize(platforms.DefaultSpec())

// thisMachine are the images that run here. Not those for 386 and arm, which containerd takes
// for amd64 and arm64, too: the kernel runs no programs of 32 bits.
var thisMachine = platforms.OnlyStrict(thisPlatform)

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
// that label, and looks whether each is complete and unpacked. Those that are replaced
// count if their names are still taken.
func (s *store) Has(ctx context.Context, id digest.Digest, taken func(name string) bool) (b brought, err error) {
	ctx = inK8s(ctx)
	label := archiveLabel(id)
	found, err := s.client.ImageService().List(ctx, fmt.Sprintf("labels.%q", label))
	if err != nil {
		return brought{}, err
	}
	found = slices.DeleteFunc(found, func(i images.Image) bool { return i.Labels[label] == byDigest })
	for _, i := range found {
		switch i.Labels[label] {
		case replaced:
			if !taken(i.Name) {
				return brought{}, nil
			}
			b.others = append(b.others, i.Name)
		case strconv.Itoa(len(found)):
			if ok, err := s.complete(ctx, i); !ok || err != nil {
				return brought{}, err
			}
			b.names = append(b.names, i.Name)
		default:
			return brought{}, nil
		}
	}
	return b, nil
}

// complete tells whether an image's blobs are there and its layers unpacked.
func (s *store) complete(ctx context.Context, i images.Image) (bool, error) {
	available, _, _, missing, err := images.Check(ctx, s.client.ContentStore(), i.Target, thisMachine)
	if err != nil || !available || len(missing) > 0 {
		return false, err
	}
	return s.image(i).IsUnpacked(ctx, s.snapshotter)
}

// Import reads the archive into the content store, unpacks its images and only
// then names them. A lease protects all of it until the names do.
func (s *store) Import(ctx context.Context, path string, id digest.Digest, taken func(name string) bool) (brought, error) {
	ctx, release, err := s.client.WithLease(inK8s(ctx), leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		return brought{}, err
	}
	defer release(context.WithoutCancel(ctx))
	index, err := s.read(ctx, path)
	if err != nil {
		// A second error would only hide the first.
		s.Prepare(context.WithoutCancel(ctx))
		return brought{}, err
	}
	found, err := s.images(ctx, index)
	if err != nil {
		return brought{}, err
	}
	return s.nameAll(ctx, found, id, taken)
}

// nameAll unpacks and names the images that the archive id brought, and returns their
// names. One that fails costs itself only: the number in the others' label then says that
// one is missing, and the next boot tries again.
func (s *store) nameAll(ctx context.Context, found []images.Image, id digest.Digest, taken func(name string) bool) (b brought, err error) {
	var errs []error
	for _, i := range found {
		i.Labels = map[string]string{archiveLabel(id): strconv.Itoa(len(found))}
		other, err := s.addFree(ctx, i, taken)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("image %s: %w", i.Name, err))
		case other:
			b.others = append(b.others, i.Name)
		default:
			b.names = append(b.names, i.Name)
		}
	}
	return b, errors.Join(errs...)
}

// addFree unpacks and names an image, unless its name is taken by another one.
func (s *store) addFree(ctx context.Context, i images.Image, taken func(name string) bool) (other bool, err error) {
	if taken(i.Name) {
		if other, err := s.yield(ctx, i); other || err != nil {
			return other, err
		}
	}
	if err := s.check(ctx, i); err != nil {
		return false, err
	}
	if err := s.mark(ctx, i); err != nil {
		return false, err
	}
	// Its snapshot is on disk afterwards: see package differ.
	if err := s.image(i).Unpack(ctx, s.snapshotter); err != nil {
		return false, err
	}
	return false, s.name(ctx, i)
}

// yield notes at a name that an archive has another image for it, and reports whether it
// has.
func (s *store) yield(ctx context.Context, i images.Image) (other bool, err error) {
	is := s.client.ImageService()
	old, err := is.Get(ctx, i.Name)
	if err != nil || old.Target.Digest == i.Target.Digest {
		return false, ignoreNotFound(err)
	}
	if old.Labels == nil {
		old.Labels = map[string]string{}
	}
	for label := range i.Labels {
		old.Labels[label] = replaced
	}
	_, err = is.Update(ctx, old, "labels")
	return true, err
}

// read stores every blob of the archive and returns its index, which
// containerd makes up for `docker save` files.
func (s *store) read(ctx context.Context, path string) (ocispec.Descriptor, error) {
	f, err := regular.Open(path)
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
// sorted by name.
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
	found, flaws, err := named(list)
	if err != nil {
		return nil, err
	}
	if flaws != nil {
		log.G(ctx).WithError(flaws).Error("an archive brings images in vain")
	}
	var out []images.Image
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, images.Image{Name: name, Target: found[name]})
	}
	return out, nil
}

// image is an image with what can be done with it.
func (s *store) image(i images.Image) containerd.Image {
	return containerd.NewImageWithPlatform(s.client, i, thisMachine)
}

// mark labels what an image refers to, for the garbage collector. An index may refer to
// more than the archive has: to other platforms, and to what is known of the image.
func (s *store) mark(ctx context.Context, i images.Image) error {
	cs := s.client.ContentStore()
	present := func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		children, err := images.Children(ctx, cs, desc)
		if errdefs.IsNotFound(err) {
			return nil, images.ErrSkipDesc
		}
		return children, err
	}
	children := images.FilterPlatforms(present, thisMachine)
	return images.WalkNotEmpty(ctx, images.SetChildrenLabels(cs, children), i.Target)
}

// named returns the manifests that have a name and are for this machine, by name, and
// what is wrong with other names.
func named(list ocispec.Index) (found map[string]ocispec.Descriptor, flaws, err error) {
	found = map[string]ocispec.Descriptor{}
	reason := errNoName
	for _, m := range list.Manifests {
		name, err := imageName(m)
		if err != nil {
			if !errors.Is(err, errUnnamed) {
				flaws = errors.Join(flaws, err)
			}
			continue
		}
		if m.Platform != nil && !thisMachine.Match(*m.Platform) {
			reason = fmt.Errorf("image %s: %w", name, errPlatform(*m.Platform))
			continue
		}
		found[name] = m
	}
	if len(found) == 0 {
		return nil, nil, cmp.Or(flaws, reason)
	}
	return found, flaws, nil
}

// check demands that all is there of an image that this machine needs.
func (s *store) check(ctx context.Context, i images.Image) error {
	cs := s.client.ContentStore()
	available, _, _, missing, err := images.Check(ctx, cs, i.Target, thisMachine)
	if err != nil {
		return err
	}
	if !available {
		if _, err := cs.Info(ctx, i.Target.Digest); err == nil {
			return fmt.Errorf("it has nothing for this machine, %s", platforms.Format(thisPlatform))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("blob %s is not in the archive", missing[0].Digest)
	}
	return s.checkPlatform(ctx, i)
}

// checkPlatform looks at the configuration of an image whose platform no index says.
func (s *store) checkPlatform(ctx context.Context, i images.Image) error {
	if i.Target.Platform != nil || !images.IsManifestType(i.Target.MediaType) {
		return nil
	}
	cs := s.client.ContentStore()
	config, err := i.Config(ctx, cs, thisMachine)
	if err != nil {
		return err
	}
	p, err := images.ConfigPlatform(ctx, cs, config)
	if err != nil || p.Architecture == "" || thisMachine.Match(p) {
		return err
	}
	return errPlatform(p)
}

func errPlatform(p ocispec.Platform) error {
	return fmt.Errorf("it is for %s: this machine is %s", platforms.Format(p), platforms.Format(thisPlatform))
}

// name creates the image's three records, its name last because that one
// carries the archive's label, and tells CRI about each.
func (s *store) name(ctx context.Context, i images.Image) error {
	config, err := i.Config(ctx, s.client.ContentStore(), thisMachine)
	if err != nil {
		return err
	}
	refs := []string{config.Digest.String()}
	if named, err := reference.ParseDockerRef(i.Name); err == nil {
		if ref := reference.TrimNamed(named).Name() + "@" + i.Target.Digest.String(); ref != i.Name {
			refs = append(refs, ref)
		}
	}
	labels := maps.Clone(i.Labels)
	for key := range labels {
		labels[key] = byDigest
	}
	for _, ref := range refs {
		if err := s.record(ctx, images.Image{Name: ref, Target: i.Target, Labels: labels}); err != nil {
			return err
		}
	}
	return s.record(ctx, i)
}

// record creates or replaces one record, and tells CRI.
func (s *store) record(ctx context.Context, i images.Image) error {
	if err := s.write(ctx, i); err != nil {
		return err
	}
	// CRI also hears of it by an event, but later than we say that it is there.
	return s.updateCRI(ctx, i.Name)
}

// write creates or replaces one record. Labels of other archives stay, of those that
// have another image as replaced.
func (s *store) write(ctx context.Context, i images.Image) error {
	is := s.client.ImageService()
	labels := map[string]string{managedLabel: "managed", pinnedLabel: "pinned"}
	maps.Copy(labels, i.Labels)
	old, err := is.Get(ctx, i.Name)
	switch {
	case errdefs.IsNotFound(err):
		i.Labels = labels
		_, err = is.Create(ctx, i)
	case err == nil:
		keepArchives(labels, old, i.Target.Digest)
		i.Labels = labels
		_, err = is.Update(ctx, i, "target", "labels")
	}
	if err != nil {
		return fmt.Errorf("record %s: %w", i.Name, err)
	}
	return nil
}

// keepArchives adds the archives that an old record had.
func keepArchives(labels map[string]string, old images.Image, target digest.Digest) {
	for k, v := range old.Labels {
		same := old.Target.Digest == target
		switch {
		case !strings.HasPrefix(k, archivePrefix) || labels[k] != "" || !same && v == byDigest:
		case same:
			labels[k] = v
		default:
			labels[k] = replaced
		}
	}
}

// Unpin takes the labels off that archives gave which are not among ids, and leaves
// images without any to the kubelet's garbage collection. What is used in place goes with
// its layout instead.
func (s *store) Unpin(ctx context.Context, ids []digest.Digest) error {
	ctx = inK8s(ctx)
	all, err := s.client.ImageService().List(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, id := range ids {
		known[archiveLabel(id)] = true
	}
	var errs []error
	for _, i := range all {
		if dropStale(i.Labels, known) {
			_, err := s.client.ImageService().Update(ctx, i, "labels")
			errs = append(errs, ignoreNotFound(err), s.updateCRI(ctx, i.Name))
		}
	}
	return errors.Join(errs...)
}

// dropStale removes the labels of archives that are not known, and with the last one the
// pin. It reports whether there was any.
func dropStale(labels map[string]string, known map[string]bool) bool {
	stale, kept := false, labels[placeLabel] != ""
	for key := range labels {
		switch {
		case !strings.HasPrefix(key, archivePrefix):
		case known[key]:
			kept = true
		default:
			delete(labels, key)
			stale = true
		}
	}
	if stale && !kept {
		delete(labels, pinnedLabel)
	}
	return stale
}
