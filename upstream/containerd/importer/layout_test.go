package importer

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"kios/upstream/containerd/regular"
)

// newLayoutStore is a store to which a layer is mounted by making a directory.
func newLayoutStore(t *testing.T) *store {
	t.Helper()
	s, _ := newStore(t)
	s.layersDir = t.TempDir()
	s.mountLayer = func(file, target string) error {
		if _, err := os.Stat(file); err != nil {
			return err
		}
		return os.MkdirAll(target, 0o755)
	}
	return s
}

// layoutOf writes a layout with images by name, each a list of layers.
func layoutOf(t *testing.T, all map[string][]string) string {
	t.Helper()
	dir := t.TempDir()
	put := func(data []byte) ocispec.Descriptor {
		d := digest.FromBytes(data)
		path := blobPath(dir, d)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return ocispec.Descriptor{Digest: d, Size: int64(len(data))}
	}
	var index ocispec.Index
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var manifest ocispec.Manifest
		config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, RootFS: ocispec.RootFS{Type: "layers"}}
		for _, text := range all[name] {
			l := put([]byte(text))
			l.MediaType = images.MediaTypeErofsLayer
			manifest.Layers = append(manifest.Layers, l)
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.Digest)
		}
		manifest.Config = put(toJSON(t, config))
		manifest.Config.MediaType = ocispec.MediaTypeImageConfig
		manifest.MediaType = ocispec.MediaTypeImageManifest
		desc := put(toJSON(t, manifest))
		desc.MediaType = ocispec.MediaTypeImageManifest
		desc.Annotations = map[string]string{images.AnnotationImageName: name}
		index.Manifests = append(index.Manifests, desc)
	}
	for name, data := range map[string][]byte{"oci-layout": []byte("{}"), "index.json": toJSON(t, index)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// checkLinks demands that the snapshots of an image lead to its layers.
func checkLinks(t *testing.T, s *store, layers ...string) {
	t.Helper()
	var diffs []digest.Digest
	for _, text := range layers {
		diffs = append(diffs, digest.FromString(text))
	}
	for n, chain := range identity.ChainIDs(slices.Clone(diffs)) {
		info, err := s.client.SnapshotService("native").Stat(inK8s(t.Context()), chain.String())
		if err != nil {
			t.Errorf("snapshot of layer %d: %v", n, err)
			continue
		}
		if target, err := os.Readlink(info.Labels[linkLabel]); err != nil || target != s.mountPoint(diffs[n]) {
			t.Errorf("snapshot of layer %d leads to %q, %v, want %s", n, target, err, s.mountPoint(diffs[n]))
		}
	}
}

func imageNames(t *testing.T, s *store) (names []string) {
	t.Helper()
	all, err := s.client.ImageService().List(inK8s(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Labels[managedLabel] == "" || i.Labels[pinnedLabel] == "" {
			t.Errorf("%s has labels %v", i.Name, i.Labels)
		}
		if len(i.Name) < 64 { // records by digest aside
			names = append(names, i.Name)
		}
	}
	return names
}

// checkIDs demands that each image is there by its id, which volumes ask for, and nothing
// that is none's.
func checkIDs(t *testing.T, s *store) {
	t.Helper()
	ctx := inK8s(t.Context())
	all, err := s.client.ImageService().List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	for _, i := range all {
		config, err := i.Config(ctx, s.client.ContentStore(), thisMachine)
		if err != nil {
			t.Fatal(err)
		}
		ids[config.Digest.String()]++
	}
	for id, records := range ids {
		if _, err := s.client.ImageService().Get(ctx, id); err != nil || records < 2 {
			t.Errorf("image %s has %d records: %v", id, records, err)
		}
	}
}

func TestPlace(t *testing.T) {
	s := newLayoutStore(t)
	dir := layoutOf(t, map[string][]string{"kios.local/system:1": {"system"}, "kios.local/time:1": {"system", "chrony"}})
	place := func(wantChanged bool) {
		t.Helper()
		changed, err := s.Place(t.Context(), dir, []string{"kios.local/system:1", "kios.local/time:1"})
		if err != nil || changed != wantChanged {
			t.Fatalf("Place = %v, %v, want changed %v", changed, err, wantChanged)
		}
		checkLinks(t, s, "system", "chrony")
		if diff := cmp.Diff([]string{"kios.local/system:1", "kios.local/time:1"}, imageNames(t, s)); diff != "" {
			t.Errorf("images (-want +got):\n%s", diff)
		}
		checkIDs(t, s)
	}
	place(true)
	place(false)

	// What an earlier version has placed lacks its ids.
	placed, err := readLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.client.ImageService().Delete(inK8s(t.Context()), placed[0].id()); err != nil {
		t.Fatal(err)
	}
	place(true)

	// What a power cut may have left behind is mended.
	chain := identity.ChainID([]digest.Digest{digest.FromString("system"), digest.FromString("chrony")})
	info, err := s.client.SnapshotService("native").Stat(inK8s(t.Context()), chain.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(info.Labels[linkLabel]); err != nil {
		t.Fatal(err)
	}
	place(true)
}

func TestForget(t *testing.T) {
	s := newLayoutStore(t)
	const mine = "example.org/mine:1"
	user := layoutOf(t, map[string][]string{mine: {"mine"}})
	if _, err := s.Place(t.Context(), user, []string{mine}); err != nil {
		t.Fatal(err)
	}
	for version := range 3 {
		name := fmt.Sprintf("kios.local/system:%d", version)
		dir := layoutOf(t, map[string][]string{name: {fmt.Sprint("system ", version)}, "kios.local/pause:1": {"pause"}})
		if changed, err := s.Place(t.Context(), dir, []string{name, "kios.local/pause:1"}); err != nil || !changed {
			t.Fatalf("Place of version %d = %v, %v", version, changed, err)
		}
		if err := s.Forget(t.Context(), []string{dir, user}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{mine, "kios.local/pause:1", name}, imageNames(t, s)); diff != "" {
			t.Errorf("images (-want +got):\n%s", diff)
		}
		checkIDs(t, s)
	}
	// A layout that was taken away takes its images along.
	if err := s.Forget(t.Context(), []string{user}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{mine}, imageNames(t, s)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestScanFindsLayoutsOfUsers(t *testing.T) {
	system := layoutOf(t, map[string][]string{"kios.local/pause:1": {"p"}, "kios.local/a:1": {"a"}, "example.org/mine:1": {"old"}})
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine")
	if err := os.Rename(layoutOf(t, map[string][]string{"example.org/mine:1": {"mine"}}), mine); err != nil {
		t.Fatal(err)
	}
	im := New(slowStore{}, "kios.local/pause:1")
	if diff := cmp.Diff([]string{system, mine}, im.scan(t.Context(), []string{system, dir})); diff != "" {
		t.Errorf("layouts (-want +got):\n%s", diff)
	}
	var got []string
	for _, a := range im.pending {
		got = append(got, strings.Join(append([]string{filepath.Base(a.path)}, a.names...), " "))
	}
	base := filepath.Base(system)
	want := []string{"mine example.org/mine:1", base + " example.org/mine:1 kios.local/a:1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
}

func TestPlaceKeepsTheOthersWhenOneIsBroken(t *testing.T) {
	s := newLayoutStore(t)
	dir := layoutOf(t, map[string][]string{"kios.local/a:1": {"a"}, "kios.local/b:1": {"b"}})
	if err := os.Remove(blobPath(dir, digest.FromString("a"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Place(t.Context(), dir, []string{"kios.local/a:1", "kios.local/b:1"}); err == nil {
		t.Error("a layer is missing, and Place does not say so")
	}
	if _, err := s.client.ImageService().Get(inK8s(t.Context()), "kios.local/b:1"); err != nil {
		t.Errorf("the sound image: %v", err)
	}
}

func TestInspectLayout(t *testing.T) {
	dir := layoutOf(t, map[string][]string{"kios.local/pause:1": {"p"}, "kios.local/a:1": {"a"}, "kios.local/b:1": {"b"}})
	first, rest, err := inspectLayout(dir, "kios.local/pause:1")
	if err != nil || !slices.Equal(first.names, []string{"kios.local/pause:1"}) || !slices.Equal(rest.names, []string{"kios.local/a:1", "kios.local/b:1"}) {
		t.Errorf("inspectLayout = %v, %v, %v", first, rest, err)
	}
}

// Each pod needs the sandbox's image, and what users bring may be slow to look at.
func TestSandboxImageIsPlacedBeforeArchivesAreLookedAt(t *testing.T) {
	s := newLayoutStore(t)
	system, dir := layoutOf(t, map[string][]string{"kios.local/pause:1": {"p"}, "kios.local/a:1": {"a"}}), t.TempDir()
	save(t, dir, "bad.tar", []byte("no archive"))
	im := New(s, "kios.local/pause:1")
	looked := false
	im.notify = func(event string, fields ...string) {
		if event != "image-failed" {
			return
		}
		looked = true
		if im.Named("kios.local/pause:1") != nil || im.Pending("kios.local/pause:1") != nil {
			t.Error("pods wait for the sandbox's image while archives are looked at")
		}
		if im.Named("kios.local/a:1") == nil {
			t.Error("nothing waits for an image while it is not known what archives bring")
		}
		if diff := cmp.Diff([]string{"kios.local/pause:1"}, imageNames(t, s)); diff != "" {
			t.Errorf("images (-want +got):\n%s", diff)
		}
	}
	im.Run(t.Context(), []string{system, dir})
	if !looked {
		t.Error("the archive was not looked at")
	}
}

// Open(2) of a FIFO, or the kernel's own in mount(2), would never return.
func TestWhatIsNoFileCostsItself(t *testing.T) {
	s, _ := newStore(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	odd := at("odd-layout")
	for _, err := range []error{
		syscall.Mkfifo(at("fifo.tar"), 0o600), syscall.Mkfifo(at("fifo"), 0o600), os.Symlink("fifo", at("link.tar")),
		os.Symlink("/dev/zero", at("zero.tar.gz")), os.Mkdir(odd, 0o700), os.WriteFile(filepath.Join(odd, "oci-layout"), []byte("{}"), 0o600),
		syscall.Mkfifo(filepath.Join(odd, "index.json"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	save(t, dir, "good.tar", newImage(t, "example.org/good:1", "good").oci(t))
	want := []string{"image-failed fifo.tar", "image-failed link.tar", "image-failed odd-layout", "image-failed zero.tar.gz", "image-imported good.tar"}
	if diff := cmp.Diff(want, sorted(run(t, s, dir))); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if err := mountLayer(at("fifo"), at("target")); !errors.Is(err, regular.ErrNoFile) {
		t.Errorf("mountLayer of a FIFO = %v, want %v", err, regular.ErrNoFile)
	}
}
