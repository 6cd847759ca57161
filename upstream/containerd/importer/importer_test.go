package importer

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	layers "github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"
)

// newStore is a real content store, metadata database and snapshotter. Only
// layers are unpacked without mounting, so that the test needs no privileges.
func newStore(t *testing.T) (*store, *metadata.DB) {
	t.Helper()
	dir := t.TempDir()
	blobs, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		t.Fatal(err)
	}
	sn, err := native.NewSnapshotter(filepath.Join(dir, "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := bolt.Open(filepath.Join(dir, "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sn.Close(); file.Close() })
	db := metadata.NewDB(file, blobs, map[string]snapshots.Snapshotter{"native": sn})
	if err := db.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := containerd.New("", containerd.WithServices(
		containerd.WithContentStore(db.ContentStore()),
		containerd.WithImageStore(metadata.NewImageStore(db)),
		containerd.WithLeasesService(metadata.NewLeaseManager(db)),
		containerd.WithSnapshotters(map[string]snapshots.Snapshotter{"native": db.Snapshotter("native")}),
		containerd.WithDiffService(bareDiffer{cs: db.ContentStore()}),
	))
	if err != nil {
		t.Fatal(err)
	}
	return &store{client: client, snapshotter: "native", updateCRI: func(context.Context, string) error { return nil }}, db
}

// bareDiffer unpacks an uncompressed layer into the directory that a bind
// mount names.
type bareDiffer struct {
	diff.Comparer
	cs content.Store
}

func (d bareDiffer) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	ra, err := d.cs.ReaderAt(ctx, desc)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer ra.Close()
	sum := digest.Canonical.Digester()
	r := io.TeeReader(content.NewReader(ra), sum.Hash())
	if _, err := layers.Apply(ctx, mounts[0].Source, r, layers.WithNoSameOwner()); err != nil {
		return ocispec.Descriptor{}, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Size: desc.Size, Digest: sum.Digest()}, nil
}

// file is one file of a tar.
type file struct {
	name string
	data []byte
}

func tarOf(t *testing.T, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			t.Fatal(err)
		}
		w.Write(f.data)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func toJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// image is an image in parts, so that tests can break each.
type image struct {
	layer, config, manifest, index []byte
	target                         ocispec.Descriptor
}

// newImage makes an image of one layer with one file of the given content.
func newImage(t *testing.T, name, content string) image {
	t.Helper()
	return newImageFor(t, ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"}, name, content)
}

func newImageFor(t *testing.T, p ocispec.Platform, name, content string) image {
	t.Helper()
	var i image
	i.layer = tarOf(t, file{"hello", []byte(content)})
	i.config = toJSON(t, ocispec.Image{
		Platform: p,
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(i.layer)}},
	})
	i.manifest = toJSON(t, ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    descriptor(ocispec.MediaTypeImageConfig, i.config),
		Layers:    []ocispec.Descriptor{descriptor(ocispec.MediaTypeImageLayer, i.layer)},
	})
	i.target = descriptor(ocispec.MediaTypeImageManifest, i.manifest)
	i.target.Annotations = map[string]string{ocispec.AnnotationRefName: name}
	i.index = toJSON(t, ocispec.Index{Manifests: []ocispec.Descriptor{i.target}})
	return i
}

func descriptor(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

func blob(data []byte) file {
	return file{"blobs/sha256/" + digest.FromBytes(data).Encoded(), data}
}

var layout = file{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}

// oci returns the image as an OCI archive, its index last as most tools do.
func (i image) oci(t *testing.T) []byte {
	return tarOf(t, layout, blob(i.layer), blob(i.config), blob(i.manifest), file{"index.json", i.index})
}

// docker returns the image as `docker save` writes it.
func (i image) docker(t *testing.T, tags ...string) []byte {
	config := digest.FromBytes(i.config).Encoded() + ".json"
	list := toJSON(t, []map[string]any{{"Config": config, "RepoTags": tags, "Layers": []string{"1/layer.tar"}}})
	return tarOf(t, file{"1/layer.tar", i.layer}, file{config, i.config}, file{"manifest.json", list})
}

func save(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// run imports all archives in dir and returns what would be told to init.
func run(t *testing.T, s Store, dir string) (events []string) {
	t.Helper()
	im := New(s, "kios.local/pause:1")
	im.notify = func(event string, fields ...string) {
		f := map[string]string{}
		for i := 0; i < len(fields); i += 2 {
			f[fields[i]] = fields[i+1]
		}
		events = append(events, event+" "+f["ARCHIVE"])
	}
	im.Run(t.Context(), []string{dir, filepath.Join(dir, "missing")})
	if im.Pending("anything") != nil {
		t.Error("Pending after Run, want nothing to wait for")
	}
	return events
}

func TestImport(t *testing.T) {
	i := newImage(t, "example.org/app:1", "hi")
	tests := []struct {
		file string
		data []byte
		name string
	}{
		{"oci.tar", i.oci(t), "example.org/app:1"},
		{"oci.tar.gz", gzipped(t, i.oci(t)), "example.org/app:1"},
		{"oci.tar.zst", zstded(t, i.oci(t)), "example.org/app:1"},
		{"docker.tar", i.docker(t, "app:1"), normal(t, "app:1")}, // with the default registry
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			s, db := newStore(t)
			var told []string
			s.updateCRI = func(_ context.Context, ref string) error { told = append(told, ref); return nil }
			dir := t.TempDir()
			save(t, dir, tt.file, tt.data)
			if diff := cmp.Diff([]string{"image-imported " + tt.file}, run(t, s, dir)); diff != "" {
				t.Fatalf("first run (-want +got):\n%s", diff)
			}
			checkImage(t, s, tt.name, digest.FromBytes(i.config))
			if len(told) != 3 || told[2] != tt.name {
				t.Errorf("CRI was told of %v, want three names, %s last", told, tt.name)
			}
			if _, err := db.GarbageCollect(inK8s(t.Context())); err != nil {
				t.Fatal(err)
			}
			checkImage(t, s, tt.name, digest.FromBytes(i.config))
			if got := run(t, s, dir); got != nil {
				t.Errorf("second run = %v, want nothing", got)
			}
		})
	}
}

// checkImage looks for the three records, pinned and unpacked.
func checkImage(t *testing.T, s *store, name string, config digest.Digest) {
	t.Helper()
	ctx := inK8s(t.Context())
	named, err := s.client.ImageService().Get(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	byDigest := name[:strings.LastIndex(name, ":")] + "@" + named.Target.Digest.String()
	for _, ref := range []string{name, byDigest, config.String()} {
		i, err := s.client.ImageService().Get(ctx, ref)
		if err != nil {
			t.Errorf("image %s: %v", ref, err)
			continue
		}
		if i.Labels[managedLabel] != "managed" || i.Labels[pinnedLabel] != "pinned" {
			t.Errorf("labels of %s = %v, want managed and pinned", ref, i.Labels)
		}
		if ok, err := s.complete(ctx, i); !ok || err != nil {
			t.Errorf("complete(%s) = %v, %v, want true", ref, ok, err)
		}
	}
}

func TestBrokenArchivesAreNamedAndTheOthersGoOn(t *testing.T) {
	good := newImage(t, "example.org/good:1", "good")
	i := newImage(t, "example.org/bad:1", "bad")
	unnamed := newImage(t, "latest", "bad")
	swapped := blob(i.layer)
	swapped.data = tarOf(t, file{"hello", []byte("BAD")})
	foreign := i.target
	foreign.Platform = &ocispec.Platform{OS: "linux", Architecture: others.foreign}
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "empty or too short"},
		{"garbage", bytes.Repeat([]byte("garbage "), 200), "read tar"},
		{"truncated", i.oci(t)[:len(i.oci(t))/2], "unexpected EOF"},
		{"truncated gzip", gzipped(t, i.oci(t))[:100], "unexpected EOF"},
		{"no image", tarOf(t, file{"a", []byte("b")}), "neither index.json nor manifest.json"},
		{"bad index", tarOf(t, layout, file{"index.json", []byte("{")}), "index.json"},
		{"no name", unnamed.oci(t), "names no image"},
		{"no tags", i.docker(t), "no RepoTags"},
		{"missing layer", tarOf(t, layout, blob(i.config), blob(i.manifest), file{"index.json", i.index}), digest.FromBytes(i.layer).String()},
		{"missing manifest", tarOf(t, layout, blob(i.layer), file{"index.json", i.index}), i.target.Digest.String()},
		{"changed layer", tarOf(t, layout, swapped, blob(i.config), blob(i.manifest), file{"index.json", i.index}), digest.FromBytes(i.layer).String()},
		{"other platform", tarOf(t, layout, file{"index.json", toJSON(t, ocispec.Index{Manifests: []ocispec.Descriptor{foreign}})}), "is for linux/" + others.foreign},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newStore(t)
			dir := t.TempDir()
			path := save(t, dir, "a-bad.tar", tt.data)
			save(t, dir, "b-good.tar", good.oci(t))
			if diff := cmp.Diff([]string{"image-failed a-bad.tar", "image-imported b-good.tar"}, sorted(run(t, s, dir))); diff != "" {
				t.Fatalf("events (-want +got):\n%s", diff)
			}
			checkImage(t, s, "example.org/good:1", digest.FromBytes(good.config))
			if err := importError(t, s, path); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %q, want %q in it", err, tt.want)
			}
			if _, err := s.client.ImageService().Get(inK8s(t.Context()), "example.org/bad:1"); !errdefs.IsNotFound(err) {
				t.Errorf("Get(example.org/bad:1) = %v, want not found", err)
			}
			open, err := s.client.ContentStore().ListStatuses(inK8s(t.Context()))
			if err != nil || len(open) > 0 {
				t.Errorf("half-read blobs = %v, %v, want none", open, err)
			}
		})
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

// importError returns what is wrong with an archive, found early or late.
func importError(t *testing.T, s *store, path string) error {
	t.Helper()
	a, err := inspect(path)
	if err != nil {
		return err
	}
	id, err := a.identify()
	if err != nil {
		return err
	}
	if _, err := s.Import(t.Context(), path, id, noneTaken); err != nil {
		return err
	}
	return errors.New("nothing is wrong")
}

func TestWhatIsMissingIsRepaired(t *testing.T) {
	i := newImage(t, "example.org/app:1", "hi")
	config := digest.FromBytes(i.config)
	tests := []struct {
		name   string
		damage func(ctx context.Context, s *store) error
	}{
		{"name", func(ctx context.Context, s *store) error {
			return s.client.ImageService().Delete(ctx, "example.org/app:1")
		}},
		{"snapshot", func(ctx context.Context, s *store) error {
			return s.client.SnapshotService("native").Remove(ctx, digest.FromBytes(i.layer).String())
		}},
		{"blob", func(ctx context.Context, s *store) error {
			return s.client.ContentStore().Delete(ctx, digest.FromBytes(i.layer))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newStore(t)
			dir := t.TempDir()
			save(t, dir, "app.tar", i.oci(t))
			run(t, s, dir)
			if err := tt.damage(inK8s(t.Context()), s); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"image-imported app.tar"}, run(t, s, dir)); diff != "" {
				t.Fatalf("events (-want +got):\n%s", diff)
			}
			checkImage(t, s, "example.org/app:1", config)
		})
	}
}

// A blob that an interrupted import was reading must not be continued with the
// bytes of another archive.
func TestHalfReadBlobIsNotContinued(t *testing.T) {
	s, _ := newStore(t)
	ctx := inK8s(t.Context())
	i := newImage(t, "example.org/app:1", "hi")
	w, err := s.client.ContentStore().Writer(ctx, content.WithRef(ingestPrefix+blob(i.layer).name))
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("other bytes"))
	w.Close()
	dir := t.TempDir()
	save(t, dir, "app.tar", i.oci(t))
	if diff := cmp.Diff([]string{"image-imported app.tar"}, run(t, s, dir)); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	checkImage(t, s, "example.org/app:1", digest.FromBytes(i.config))
}

func TestNewContentReplacesTheName(t *testing.T) {
	s, _ := newStore(t)
	dir := t.TempDir()
	save(t, dir, "app.tar", newImage(t, "example.org/app:1", "old").oci(t))
	run(t, s, dir)
	i := newImage(t, "example.org/app:1", "new")
	save(t, dir, "app.tar", i.oci(t))
	if diff := cmp.Diff([]string{"image-imported app.tar"}, run(t, s, dir)); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	checkImage(t, s, "example.org/app:1", digest.FromBytes(i.config))
	got, err := s.client.ImageService().Get(inK8s(t.Context()), "example.org/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if n := archiveLabels(got); len(n) != 1 {
		t.Errorf("labels of archives = %v, want the new one only", n)
	}
}

// The same image from two archives is there twice, and neither is imported
// again because of the other.
func TestSameImageFromTwoArchives(t *testing.T) {
	s, _ := newStore(t)
	dir := t.TempDir()
	i := newImage(t, "example.org/app:1", "hi")
	save(t, dir, "a.tar", i.oci(t))
	save(t, dir, "b.tar.gz", gzipped(t, i.oci(t)))
	if diff := cmp.Diff([]string{"image-imported a.tar", "image-imported b.tar.gz"}, run(t, s, dir)); diff != "" {
		t.Fatalf("first run (-want +got):\n%s", diff)
	}
	if got := run(t, s, dir); got != nil {
		t.Errorf("second run = %v, want nothing", got)
	}
}

func archiveLabels(i images.Image) []string {
	return slices.Collect(func(yield func(string) bool) {
		for k := range maps.Keys(i.Labels) {
			if strings.HasPrefix(k, archivePrefix) && !yield(k) {
				return
			}
		}
	})
}

// slowStore imports when it is told to.
type slowStore struct {
	started chan string
	finish  chan struct{}
}

func (s slowStore) Prepare(context.Context) error                         { return nil }
func (s slowStore) Place(context.Context, string, []string) (bool, error) { return false, nil }
func (s slowStore) Forget(context.Context, []string) error                { return nil }

func (s slowStore) Differ(context.Context, string, []string) ([]string, error) { return nil, nil }
func (s slowStore) Unpin(context.Context, []digest.Digest) error               { return nil }
func (s slowStore) Has(context.Context, digest.Digest, func(string) bool) (brought, error) {
	return brought{}, nil
}

func (s slowStore) Import(_ context.Context, path string, _ digest.Digest, _ func(string) bool) (brought, error) {
	s.started <- filepath.Base(path)
	<-s.finish
	return brought{}, nil
}

func noneTaken(string) bool { return false }

func TestPending(t *testing.T) {
	dir := t.TempDir()
	save(t, dir, "2.tar", newImage(t, "example.org/a:1", "a").oci(t)) // the last by name is the first
	save(t, dir, "1.tar", newImage(t, "example.org/b:1", "b").oci(t))
	s := slowStore{make(chan string), make(chan struct{})}
	im := New(s, "kios.local/pause:1")
	if im.Pending("example.org/other:1") == nil {
		t.Error("Pending before the directories were read = nil, want to wait for anything")
	}
	done := make(chan struct{})
	go func() { im.Run(t.Context(), []string{dir}); close(done) }()

	<-s.started
	changed := im.Pending("example.org/a:1")
	if changed == nil || im.Pending("example.org/b:1") == nil || im.Pending("example.org/b@sha256:"+strings.Repeat("0", 64)) == nil {
		t.Error("Pending = nil for what is in an archive, or may be")
	}
	if im.Pending("example.org/other:1") != nil || im.Pending("not a name") != nil {
		t.Error("Pending != nil for what is in no archive")
	}
	s.finish <- struct{}{}
	<-s.started
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("the channel is open after the first import")
	}
	if im.Pending("example.org/a:1") != nil || im.Pending("example.org/b:1") == nil {
		t.Error("after the first import a is pending, or b is not")
	}
	s.finish <- struct{}{}
	<-done
	if im.Pending("example.org/b:1") != nil {
		t.Error("b is pending after the last import")
	}
}

func normal(t *testing.T, name string) string {
	t.Helper()
	ref, err := normalize(name)
	if err != nil || ref == name {
		t.Fatalf("normalize(%q) = %q, %v", name, ref, err)
	}
	return ref
}
