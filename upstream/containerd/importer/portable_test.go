package importer

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/google/go-cmp/cmp"
)

// Where a runtime has a snapshotter of its own, that can unpack the image of sandboxes.
func TestPortableImage(t *testing.T) {
	s := newLayoutStore(t)
	other, err := native.NewSnapshotter(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	s.portable = "kios.local/pause:1"
	mount := s.mountLayer
	s.mountLayer = func(file, target string) error {
		if err := mount(file, target); err != nil {
			return err
		}
		program := filepath.Join(target, "program")
		if err := os.WriteFile(program, []byte(filepath.Base(file)), 0o755); err != nil {
			return err
		}
		return os.Chtimes(program, time.Time{}, time.Unix(1, 0)) // a mount is the same each time
	}
	names := []string{"kios.local/pause:1", "kios.local/time:1"}
	dir := layoutOf(t, map[string][]string{names[0]: {"pause"}, names[1]: {"time"}})
	if changed, err := s.Place(t.Context(), dir, names); err != nil || !changed {
		t.Fatalf("Place = %v, %v", changed, err)
	}
	if changed, err := s.Place(t.Context(), dir, names); err != nil || changed {
		t.Errorf("second Place = %v, %v, want nothing new", changed, err)
	}
	if err := s.Forget(t.Context(), []string{dir}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(names, imageNames(t, s)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	checkIDs(t, s)
	checkLinks(t, s, "time")

	image, err := s.client.ImageService().Get(inK8s(t.Context()), names[0])
	if err != nil {
		t.Fatal(err)
	}
	client, err := containerd.New("", containerd.WithServices(
		containerd.WithContentStore(s.client.ContentStore()),
		containerd.WithLeasesService(s.client.LeasesService()),
		containerd.WithDiffService(bareDiffer{cs: s.client.ContentStore()}),
		containerd.WithSnapshotters(map[string]snapshots.Snapshotter{"other": other})))
	if err != nil {
		t.Fatal(err)
	}
	if err := containerd.NewImage(client, image).Unpack(inK8s(t.Context()), "other"); err != nil {
		t.Errorf("another snapshotter: %v", err)
	}
}

// What a layout brings must not fill the memory.
func TestPortableImageIsSmall(t *testing.T) {
	s := newLayoutStore(t)
	s.portable = "kios.local/pause:1"
	mount := s.mountLayer
	s.mountLayer = func(file, target string) error {
		if err := mount(file, target); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(target, "program"), make([]byte, 2*maxPortable), 0o555)
	}
	dir := layoutOf(t, map[string][]string{"kios.local/pause:1": {"pause"}})
	if _, err := s.Place(t.Context(), dir, []string{"kios.local/pause:1"}); err == nil {
		t.Error("Place of a large image for sandboxes, want an error")
	}
}
