package importer

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// runNoting is run with notes in a file, as on a node.
func runNoting(t *testing.T, s Store, dir, notes string) (im *Importer, events []string) {
	t.Helper()
	im = New(s, "kios.local/pause:1")
	im.notes = readNotes(notes)
	im.notify = func(event string, fields ...string) { events = append(events, event+" "+fields[1]) }
	im.Run(t.Context(), []string{dir})
	return im, events
}

// What a compressed archive brings is known from the first import on: nothing waits for it
// that it does not bring, and it is not read again.
func TestCompressedArchiveIsReadOnce(t *testing.T) {
	s, _ := newStore(t)
	dir, notes := t.TempDir(), filepath.Join(t.TempDir(), "archives.json")
	i := newImage(t, "example.org/app:1", "hi")
	path := save(t, dir, "app.tar.gz", gzipped(t, i.oci(t)))
	if _, events := runNoting(t, s, dir, notes); !cmp.Equal(events, []string{"image-imported app.tar.gz"}) {
		t.Fatalf("first run = %v", events)
	}

	im := New(s, "kios.local/pause:1")
	im.notes = readNotes(notes)
	im.scan(t.Context(), []string{dir})
	if im.Pending("example.org/other:1") != nil {
		t.Error("another image waits for an archive that is known not to bring it")
	}
	if im.Named("example.org/app:1") == nil {
		t.Error("its own image does not wait for it")
	}
	if a := im.next(t.Context()); a.id != digest.FromBytes(gzipped(t, i.oci(t))) {
		t.Errorf("the archive's ID is %q before it was read, want that of the first boot", a.id)
	}
	if _, events := runNoting(t, s, dir, notes); events != nil {
		t.Errorf("second run = %v, want nothing", events)
	}

	// Another file under the same name is unknown again.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	save(t, dir, "app.tar.gz", gzipped(t, newImage(t, "example.org/app:2", "hi").oci(t)))
	im.notes = readNotes(notes)
	im.scan(t.Context(), []string{dir})
	if im.Pending("example.org/other:1") == nil {
		t.Error("nothing waits for an archive that is not known")
	}
}

// before are the names of the archives that are imported before the images of the OS.
func before(t *testing.T, im *Importer) (names []string) {
	t.Helper()
	for _, a := range im.pending {
		if a.layout {
			return names
		}
		names = append(names, filepath.Base(a.path))
	}
	t.Fatal("there are no images of the OS")
	return nil
}

// A compressed archive never comes before the images of the OS, whatever is noted of it:
// if its import fails, or its images were removed, it is decompressed in full. Pods wait
// for what it may still bring.
func TestCompressedArchiveComesAfterTheOS(t *testing.T) {
	good, bad := newImage(t, app, "good"), newImage(t, "example.org/bad:1", "bad")
	for name, tt := range map[string]struct {
		data []byte
		then func(b *boots) // before the second boot
	}{
		"no archive": {data: gzipped(t, []byte("no archive"))},
		"broken":     {data: gzipped(t, tarOf(t, layout, file{"index.json", good.index}))},
		"cut off":    {data: gzipped(t, good.oci(t))[:100]},
		"half": {data: gzipped(t, tarOf(t, layout, blob(good.layer), blob(good.config), blob(good.manifest), blob(bad.config), blob(bad.manifest),
			file{"index.json", indexOf(t, bad, good)}))},
		"removed": {data: gzipped(t, two(t, good, newImage(t, "example.org/bad:1", "sound"))), then: func(b *boots) {
			if err := b.s.client.ImageService().Delete(inK8s(t.Context()), app); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := newBoots(t, layoutOf(t, map[string][]string{"kios.local/pause:1": {"p"}, "kios.local/network:1": {"n"}}), dir)
			save(t, dir, "x.tar.gz", tt.data)
			b.next(t)
			if tt.then != nil {
				tt.then(b)
			}
			im := New(b.s, "kios.local/pause:1")
			im.notes = readNotes(b.path)
			im.scan(t.Context(), b.dirs)
			if first := before(t, im); first != nil {
				t.Errorf("%q come before the images of the OS", first)
			}
			for _, name := range []string{app, "example.org/bad:1"} {
				if im.Pending(name) == nil {
					t.Errorf("no pod waits for %s, which the archive may bring", name)
				}
			}
		})
	}
}

// replacing is a store in which an archive is replaced while it is imported.
type replacing struct {
	*store
	replace func()
}

func (s replacing) Import(ctx context.Context, path string, id digest.Digest, taken func(string) bool) (brought, error) {
	b, err := s.store.Import(ctx, path, id, taken)
	s.replace()
	return b, err
}

func TestArchiveThatIsReplacedWhileItIsImported(t *testing.T) {
	s, _ := newStore(t)
	dir, notes := t.TempDir(), filepath.Join(t.TempDir(), "archives.json")
	save(t, dir, "app.tar.gz", gzipped(t, newImage(t, "example.org/app:1", "one").oci(t)))
	next := save(t, t.TempDir(), "next", gzipped(t, newImage(t, "example.org/app:2", "two").oci(t)))
	replace := func() {
		if err := os.Rename(next, filepath.Join(dir, "app.tar.gz")); err != nil {
			t.Error(err)
		}
	}
	if _, events := runNoting(t, replacing{s, replace}, dir, notes); !cmp.Equal(events, []string{"image-imported app.tar.gz"}) {
		t.Fatalf("first run = %v", events)
	}
	if _, events := runNoting(t, s, dir, notes); !cmp.Equal(events, []string{"image-imported app.tar.gz"}) {
		t.Errorf("second run = %v, want the archive that is there now", events)
	}
	if _, err := s.client.ImageService().Get(inK8s(t.Context()), "example.org/app:2"); err != nil {
		t.Error(err)
	}
}

func TestSpoiltNotes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archives.json")
	for _, text := range []string{"", "{", "null", "[]", `{"a":1}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		n := readNotes(path)
		n.keepOld("a")
		n.recall(&archive{path: "a", compressed: true})
		if err := n.write(); err != nil {
			t.Errorf("notes %q: %v", text, err)
		}
	}
}

// pins are the names of the images, and whether the kubelet may collect each.
func pins(t *testing.T, s *store) map[string]bool {
	t.Helper()
	all, err := s.client.ImageService().List(inK8s(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	pinned := map[string]bool{}
	for _, i := range all {
		pinned[i.Name] = i.Labels[pinnedLabel] != ""
	}
	return pinned
}

func records(i image, name string) []string {
	return []string{name, "example.org/app@" + i.target.Digest.String(), digest.FromBytes(i.config).String()}
}

func TestImagesOfOldArchivesAreUnpinned(t *testing.T) {
	s, _ := newStore(t)
	var told []string
	dir, notes := t.TempDir(), filepath.Join(t.TempDir(), "archives.json")
	old, fresh := newImage(t, "example.org/app:1", "old"), newImage(t, "example.org/app:1", "new")
	path := save(t, dir, "app.tar", old.oci(t))
	runNoting(t, s, dir, notes)
	for name, pinned := range pins(t, s) {
		if !pinned {
			t.Errorf("%s is not pinned while its archive is there", name)
		}
	}

	save(t, dir, "app.tar", fresh.oci(t))
	runNoting(t, s, dir, notes)
	want := map[string]bool{}
	for _, name := range records(old, "example.org/app:1") {
		want[name] = false
	}
	for _, name := range records(fresh, "example.org/app:1") {
		want[name] = true
	}
	if diff := cmp.Diff(want, pins(t, s)); diff != "" {
		t.Errorf("after the archive changed (-want +got):\n%s", diff)
	}

	// One that cannot be read is still there.
	if err := os.WriteFile(path, []byte("a broken archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	runNoting(t, s, dir, notes)
	if diff := cmp.Diff(want, pins(t, s)); diff != "" {
		t.Errorf("after the archive broke (-want +got):\n%s", diff)
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.updateCRI = func(_ context.Context, ref string) error { told = append(told, ref); return nil }
	runNoting(t, s, dir, notes)
	for name, pinned := range pins(t, s) {
		if pinned {
			t.Errorf("%s is pinned after its archive has gone", name)
		}
	}
	if len(told) != 3 {
		t.Errorf("CRI was told of %v, want three names", told)
	}
}

// indexOf is an index with the images and their own names.
func indexOf(t *testing.T, all ...image) []byte {
	t.Helper()
	var index ocispec.Index
	for _, i := range all {
		var one ocispec.Index
		if err := json.Unmarshal(i.index, &one); err != nil {
			t.Fatal(err)
		}
		index.Manifests = append(index.Manifests, one.Manifests...)
	}
	return toJSON(t, index)
}

func TestOneBadImageOfAnArchiveCostsItself(t *testing.T) {
	s, _ := newStore(t)
	dir := t.TempDir()
	good, bad := newImage(t, "example.org/good:1", "good"), newImage(t, "example.org/bad:1", "bad")
	files := []file{layout, blob(good.layer), blob(good.config), blob(good.manifest), blob(bad.config), blob(bad.manifest)}
	index := file{"index.json", indexOf(t, bad, good)}
	save(t, dir, "two.tar", tarOf(t, append(slices.Clone(files), index)...))
	want := []string{"image-failed two.tar", "image-imported two.tar"}
	if diff := cmp.Diff(want, run(t, s, dir)); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	checkImage(t, s, "example.org/good:1", digest.FromBytes(good.config))
	// The next boot tries again.
	if diff := cmp.Diff(want, run(t, s, dir)); diff != "" {
		t.Errorf("second run (-want +got):\n%s", diff)
	}
	save(t, dir, "two.tar", tarOf(t, append(slices.Clone(files), blob(bad.layer), index)...))
	run(t, s, dir)
	checkImage(t, s, "example.org/bad:1", digest.FromBytes(bad.config))
	if got := run(t, s, dir); got != nil {
		t.Errorf("run after all is there = %v, want nothing", got)
	}
}

func TestBareTagBesideANameIsNamed(t *testing.T) {
	good, bare := newImage(t, "example.org/good:1", "good"), newImage(t, "v1", "bare")
	data := tarOf(t, layout, blob(good.layer), blob(good.config), blob(good.manifest), blob(bare.layer), blob(bare.config), blob(bare.manifest),
		file{"index.json", indexOf(t, good, bare)})
	s, _ := newStore(t)
	dir := t.TempDir()
	path := save(t, dir, "two.tar", data)
	if diff := cmp.Diff([]string{"image-failed two.tar", "image-imported two.tar"}, run(t, s, dir)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	a, err := inspect(path)
	if err != nil || a.flaws == nil || !strings.Contains(a.flaws.Error(), `"v1"`) {
		t.Errorf("flaws = %v, %v, want the bare tag", a.flaws, err)
	}
	checkImage(t, s, "example.org/good:1", digest.FromBytes(good.config))
}

func TestOtherCompressionsAreNamed(t *testing.T) {
	for _, tt := range []struct{ name, suffix, head string }{{"xz", "xz", "\xfd7zXZ\x00"}, {"bzip2", "bz2", "BZh91AY"}} {
		name, dir := tt.name, t.TempDir()
		path := save(t, dir, "app.tar."+tt.suffix, []byte(tt.head+strings.Repeat("x", 100)))
		if _, err := inspect(path); err == nil || !strings.Contains(err.Error(), "compressed with "+name) {
			t.Errorf("inspect of %s = %v, want an error that names it", name, err)
		}
		if got, all, err := archivesIn(dir, maxArchives, nil); len(got) != 1 || !all || err != nil {
			t.Errorf("an archive compressed with %s is not even looked at", name)
		}
	}
}

// An unreadable image of a layout costs itself, and none of the layout's is forgotten.
func TestOneBadImageOfALayoutCostsItself(t *testing.T) {
	s := newLayoutStore(t)
	names := []string{"example.org/a:1", "example.org/b:1"}
	dir := layoutOf(t, map[string][]string{names[0]: {"a"}, names[1]: {"b"}})
	if _, err := s.Place(t.Context(), dir, names); err != nil {
		t.Fatal(err)
	}
	index, err := readIndex(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(blobPath(dir, index.Manifests[0].Digest)); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(t.Context(), []string{dir}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(names, imageNames(t, s)); diff != "" {
		t.Errorf("images after a blob was lost (-want +got):\n%s", diff)
	}
	if err := s.client.ImageService().Delete(inK8s(t.Context()), names[1]); err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Place(t.Context(), dir, names); err == nil || !changed {
		t.Errorf("Place = %v, %v, want the good one placed, and an error about the other", changed, err)
	}
	if diff := cmp.Diff(names, imageNames(t, s)); diff != "" {
		t.Errorf("images after Place (-want +got):\n%s", diff)
	}
	// Not even an index that cannot be read makes a layout one that is gone.
	if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(t.Context(), []string{dir}); err == nil {
		t.Error("Forget says nothing about an index that cannot be read")
	}
	if diff := cmp.Diff(names, imageNames(t, s)); diff != "" {
		t.Errorf("images after the index was lost (-want +got):\n%s", diff)
	}
}

// allocated returns what f allocates, in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// FuzzReadContents bounds what an archive of a user can cost, with all its copies: some
// ten times what is read of it, and far less than what it may bring.
func FuzzReadContents(f *testing.F) {
	f.Add([]byte("x"))
	for _, index := range []string{`{"manifests":[` + strings.Repeat("{},", 2*maxObjects) + `{}]}`, strings.Repeat("[", 1<<20), `{"manifests":[{"annotations":{"a":"b"}}]}`} {
		f.Add(tarOfAny(f, file{"oci-layout", []byte("{}")}, file{"index.json", []byte(index)}))
		f.Add(tarOfAny(f, file{"manifest.json", []byte(index)}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		used := allocated(func() {
			if c, err := readContents(bytes.NewReader(data)); err == nil {
				c.id()
				c.names()
			}
		})
		if bound := uint64(64<<20 + 16*len(data)); used > bound {
			t.Errorf("%d bytes of an archive take %d, want less than %d", len(data), used, bound)
		}
	})
}

func tarOfAny(f *testing.F, files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, file := range files {
		err := w.WriteHeader(&tar.Header{Name: file.name, Size: int64(len(file.data)), Mode: 0o644})
		if err == nil {
			_, err = w.Write(file.data)
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	w.Close()
	return b.Bytes()
}
