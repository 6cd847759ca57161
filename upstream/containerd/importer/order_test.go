package importer

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

const app = "example.org/app:1"

// boots runs the import again and again, with notes as on a node.
type boots struct {
	s    *store
	dirs []string
	path string // of the notes
}

func newBoots(t *testing.T, dirs ...string) *boots {
	t.Helper()
	return &boots{newLayoutStore(t), dirs, filepath.Join(t.TempDir(), "archives.json")}
}

// next runs one import and returns what would be told to init.
func (b *boots) next(t *testing.T) (events, errors []string) {
	t.Helper()
	im := New(b.s, "kios.local/pause:1")
	im.notes = readNotes(b.path)
	im.notify = func(event string, fields ...string) {
		events = append(events, event+" "+fields[1])
		if event == "image-failed" {
			errors = append(errors, fields[3])
		}
	}
	im.Run(t.Context(), b.dirs)
	return events, errors
}

// expect runs the next import and compares what it tells.
func (b *boots) expect(t *testing.T, what string, want ...string) (errors []string) {
	t.Helper()
	events, errors := b.next(t)
	if diff := cmp.Diff(want, events); diff != "" {
		t.Fatalf("%s (-want +got):\n%s\nerrors %q", what, diff, errors)
	}
	return errors
}

// target is the digest of what a name stands for.
func (b *boots) target(t *testing.T, name string) digest.Digest {
	t.Helper()
	i, err := b.s.client.ImageService().Get(inK8s(t.Context()), name)
	if err != nil {
		t.Fatal(err)
	}
	return i.Target.Digest
}

// two is an archive of two images.
func two(t *testing.T, a, b image) []byte {
	return tarOf(t, layout, blob(a.layer), blob(a.config), blob(a.manifest), blob(b.layer), blob(b.config), blob(b.manifest),
		file{"index.json", indexOf(t, a, b)})
}

// The later archive by name has the last word, whatever they look like. Each is imported
// once, and each boot has one line that names both.
func TestTwoArchivesWithOneName(t *testing.T) {
	early, late := newImage(t, app, "early"), newImage(t, app, "late")
	own := newImage(t, "example.org/own:1", "own")
	big := func(data []byte) []byte { return append(data, make([]byte, largeArchive)...) }
	plain := two(t, early, own)
	tests := []struct {
		name             string
		a, z             string // names of files
		early, late      []byte
		first, all, next []string
	}{
		{name: "plain", a: "a.tar", z: "z.tar", early: plain, late: late.oci(t),
			first: []string{"image-imported z.tar", "image-failed a.tar", "image-imported a.tar"}},
		{name: "nothing is left of it", a: "a.tar", z: "z.tar", early: early.oci(t), late: late.oci(t),
			first: []string{"image-imported z.tar", "image-failed a.tar"}},
		{name: "compressed", a: "a.tar.gz", z: "z.tar.gz", early: gzipped(t, plain), late: gzipped(t, late.oci(t)),
			first: []string{"image-imported z.tar.gz", "image-failed a.tar.gz", "image-imported a.tar.gz"}},
		{name: "late one is compressed", a: "a.tar", z: "z.tar.gz", early: plain, late: gzipped(t, late.oci(t)),
			first: []string{"image-imported a.tar", "image-imported z.tar.gz"}}, // its names are not known yet
		{name: "late one is large", a: "a.tar", z: "z.tar", early: plain, late: big(late.oci(t)),
			first: []string{"image-imported z.tar", "image-failed a.tar", "image-imported a.tar"}},
		{name: "early one is large", a: "a.tar", z: "z.tar", early: big(plain), late: late.oci(t),
			first: []string{"image-imported z.tar", "image-failed a.tar", "image-imported a.tar"}},
		{name: "of docker", a: "a.tar", z: "z.tar", early: early.docker(t, app, "example.org/own:1"), late: late.docker(t, app),
			first: []string{"image-imported z.tar", "image-failed a.tar", "image-imported a.tar"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			b := newBoots(t, t.TempDir(), dir)
			save(t, dir, tt.a, tt.early)
			z := save(t, dir, tt.z, tt.late)
			b.expect(t, "first boot", tt.first...)
			checkImage(t, b.s, app, digest.FromBytes(late.config))
			for range 2 {
				errors := b.expect(t, "next boot", "image-failed "+tt.a)
				if !strings.Contains(errors[0], app) || !strings.Contains(errors[0], z+" has another image of that name, and counts") {
					t.Errorf("error = %q, want both files and the image named", errors[0])
				}
			}
			checkImage(t, b.s, app, digest.FromBytes(late.config))
			// Without notes, too.
			if err := os.Remove(b.path); err != nil {
				t.Fatal(err)
			}
			b.next(t)
			b.expect(t, "boot after the notes were lost", "image-failed "+tt.a)
			if err := os.Remove(z); err != nil {
				t.Fatal(err)
			}
			b.expect(t, "boot without the later one", "image-imported "+tt.a)
			checkImage(t, b.s, app, digest.FromBytes(early.config))
			b.expect(t, "boot after that")
		})
	}
}

// A later archive that cannot be imported takes no name, and is no reason to import the
// other one again.
func TestBrokenArchiveTakesNoName(t *testing.T) {
	good, bad := newImage(t, app, "good"), newImage(t, app, "bad")
	broken := tarOf(t, layout, blob(bad.config), blob(bad.manifest), file{"index.json", bad.index}) // no layer
	dir := t.TempDir()
	b := newBoots(t, t.TempDir(), dir)
	save(t, dir, "a.tar", good.oci(t))
	save(t, dir, "z.tar", broken)
	b.expect(t, "first boot", "image-failed z.tar", "image-imported a.tar")
	for range 2 {
		b.expect(t, "next boot", "image-failed z.tar")
		checkImage(t, b.s, app, digest.FromBytes(good.config))
	}
	save(t, dir, "z.tar", bad.oci(t))
	b.expect(t, "boot with a sound one", "image-imported z.tar", "image-failed a.tar")
	checkImage(t, b.s, app, digest.FromBytes(bad.config))
	b.expect(t, "boot after that", "image-failed a.tar")
	// One that was good, too.
	save(t, dir, "z.tar", tarOf(t, layout, blob(bad.config), file{"index.json", newImage(t, app, "worse").index}))
	b.expect(t, "boot with another broken one", "image-failed z.tar", "image-imported a.tar")
	checkImage(t, b.s, app, digest.FromBytes(good.config))
	b.expect(t, "boot after that", "image-failed z.tar")
}

// Three archives have one winner, and whoever is next if that one breaks.
func TestThreeArchivesWithOneName(t *testing.T) {
	dir := t.TempDir()
	b := newBoots(t, t.TempDir(), dir)
	middle := newImage(t, app, "b")
	save(t, dir, "a.tar", newImage(t, app, "a").oci(t))
	save(t, dir, "b.tar", middle.oci(t))
	save(t, dir, "c.tar", tarOf(t, layout, file{"index.json", newImage(t, app, "c").index}))
	b.expect(t, "first boot", "image-failed c.tar", "image-imported b.tar", "image-failed a.tar")
	b.expect(t, "next boot", "image-failed c.tar", "image-failed a.tar")
	checkImage(t, b.s, app, digest.FromBytes(middle.config))
}

// Layouts and archives have one order.
func TestLayoutAndArchiveWithOneName(t *testing.T) {
	i := newImage(t, app, "archive")
	for _, first := range []string{"archive.tar", "layout"} {
		dir := t.TempDir()
		b := newBoots(t, t.TempDir(), dir)
		name := map[string]string{"archive.tar": "z-layout", "layout": "a-layout"}[first]
		if err := os.Rename(layoutOf(t, map[string][]string{app: {"layer"}}), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		save(t, dir, "archive.tar", i.oci(t))
		events, _ := b.next(t)
		got := b.target(t, app)
		if archiveWins := first == "layout"; (got == i.target.Digest) != archiveWins {
			t.Errorf("%s first: the image is %s, events %q", first, got, events)
		}
		loser := map[string]string{"archive.tar": "archive.tar", "layout": name}[first]
		for range 2 {
			b.expect(t, first+" first, next boot", "image-failed "+loser)
		}
		if again := b.target(t, app); again != got {
			t.Errorf("%s first: the image is %s at one boot and %s at another", first, got, again)
		}
	}
}

// An archive can replace an image of the OS. One that cannot be imported does not, and
// none replaces the sandbox's.
func TestArchivesAndImagesOfTheOS(t *testing.T) {
	const network, pause = "kios.local/network:1", "kios.local/pause:1"
	system := layoutOf(t, map[string][]string{pause: {"p"}, network: {"n"}})
	mine, other := newImage(t, network, "mine"), newImage(t, pause, "mine")
	broken := tarOf(t, layout, file{"index.json", mine.index})
	large := func(data []byte) []byte { return append(data, make([]byte, largeArchive)...) }
	for name, data := range map[string][]byte{"small": broken, "large": large(broken)} {
		dir := t.TempDir()
		b := newBoots(t, system, dir)
		save(t, dir, "network.tar", data)
		b.expect(t, name+" and broken", "image-imported "+filepath.Base(system), "image-failed network.tar", "image-imported "+filepath.Base(system))
		own := b.target(t, network)
		b.expect(t, name+" and broken, again", "image-failed network.tar")
		save(t, dir, "network.tar", mine.oci(t))
		b.expect(t, "sound", "image-imported network.tar")
		b.expect(t, "sound, again")
		if got := b.target(t, network); got == own || got != mine.target.Digest {
			t.Errorf("the image is %s, want that of the archive", got)
		}
	}
	dir := t.TempDir()
	b := newBoots(t, system, dir)
	save(t, dir, "pause.tar", other.oci(t))
	events, _ := b.next(t)
	own := b.target(t, pause)
	errors := b.expect(t, "next boot", "image-failed pause.tar")
	if own == other.target.Digest || b.target(t, pause) != own || !strings.HasSuffix(errors[0], "part of the OS: give yours another name, or remove it") {
		t.Errorf("the sandbox's image is %s, events %q, errors %q", own, events, errors)
	}
}

// What is imported before the images of the OS is bounded in number and size.
func TestWhatComesBeforeTheOS(t *testing.T) {
	of := func(path string, size int64, names ...string) *archive {
		return &archive{path: path, file: fileID{Size: size}, names: names}
	}
	many := func(n int, size int64) (all []*archive) {
		for i := range n {
			all = append(all, of(fmt.Sprint(i), size, fmt.Sprint("example.org/", i, ":1")))
		}
		return all
	}
	packed := of("packed", 1000)
	packed.compressed = true
	tests := []struct {
		name   string
		found  []*archive
		before int // archives
	}{
		{"none", nil, 0},
		{"one small", many(1, 1000), 1},
		{"many small", many(maxArchives, 1000), maxFirst},
		{"some of middle size", many(10, largeArchive), 2},
		{"large", many(1, largeArchive+1), 0},
		{"compressed", []*archive{packed}, 0},
		{"an image that a large one will replace", []*archive{of("a", 1000, app), of("b", largeArchive+1, app)}, 0},
		{"an image that it replaces itself", []*archive{of("a", largeArchive+1, app), of("b", 1000, app)}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i, a := range tt.found {
				a.rank = i + 1
			}
			system := &archive{path: "system", layout: true, names: []string{"kios.local/network:1"}}
			all := inOrder(tt.found, system)
			before := slices.IndexFunc(all, func(a *archive) bool { return a.layout })
			if before != tt.before || len(all) != len(tt.found)+1 {
				t.Errorf("%d of %d archives come before the OS, want %d of %d", before, len(all)-1, tt.before, len(tt.found))
			}
			for i, a := range all {
				for _, b := range all[i:] {
					if a.rank < b.rank && slices.ContainsFunc(a.names, b.brings) {
						t.Errorf("%s comes before %s, which has its names", a.path, b.path)
					}
				}
			}
		})
	}
}

func TestPodsDoNotWaitForArchivesThatLose(t *testing.T) {
	im := New(slowStore{}, "kios.local/pause:1")
	a, z := &archive{path: "a", rank: 1, names: []string{app}}, &archive{path: "z", rank: 2, names: []string{app}}
	im.pending, im.scanned = inOrder([]*archive{a, z}, nil), true
	if im.next(t.Context()) != z || im.Named(app) == nil {
		t.Error("the later archive is not the first, or nothing waits for it")
	}
	im.win(z, []string{app})
	im.finish()
	if im.Named(app) != nil || im.Pending(app) != nil {
		t.Error("pods wait for an archive whose image will not be used")
	}
}

// Of too many archives, the last ones by name count, whatever the order of the directory.
func TestVeryManyArchives(t *testing.T) {
	const more = 300 // than one read of the directory has
	dir, last := t.TempDir(), t.TempDir()
	var want []string
	for i := range maxArchives + more {
		path := save(t, dir, fmt.Sprintf("%04d.tar", i), []byte("no archive"))
		if i >= more+2 {
			want = append(want, path)
		}
	}
	for _, name := range []string{"a.tar", "b.tar"} { // of the later directory
		want = append(want, save(t, last, name, []byte("no archive")))
	}
	im := New(slowStore{}, "kios.local/pause:1")
	var told []string
	im.notify = func(_ string, fields ...string) { told = append(told, fields[3]) }
	if got := im.list(t.Context(), []string{t.TempDir(), dir, last}); !slices.Equal(got, want) {
		t.Errorf("%d archives, the first %q, want the last %d by name, from %s on", len(got), got[:1], len(want), want[0])
	}
	if len(told) != 1 || !strings.Contains(told[0], "more than 1000 image archives: only the last ones by name are imported: remove some") {
		t.Errorf("told %q, want one line about the number, and what to do", told)
	}
}

// The images of archives that are left out, or in a directory that cannot be read, stay
// pinned: the archives are still there.
func TestImagesOfArchivesThatAreLeftOutStay(t *testing.T) {
	dir := t.TempDir()
	b := newBoots(t, t.TempDir(), dir)
	save(t, dir, "a.tar", newImage(t, app, "a").oci(t))
	b.expect(t, "first boot", "image-imported a.tar")
	isPinned := func(want bool, when string) {
		t.Helper()
		for name, pinned := range pins(t, b.s) {
			if pinned != want {
				t.Errorf("%s: pinned %v, want %v %s", name, pinned, want, when)
			}
		}
	}
	many := t.TempDir()
	for i := range maxArchives {
		save(t, many, fmt.Sprintf("%04d.tar", i), nil)
	}
	b.dirs = append(b.dirs, many)
	if _, errors := b.next(t); !slices.Contains(errors, errManyArchives.Error()) {
		t.Errorf("errors %.200q, want one about the number", errors)
	}
	isPinned(true, "beside many others")

	b.dirs = []string{b.dirs[0], dir + "/"}
	hidden := dir + ".away"
	for _, replace := range []func() error{
		func() error { return os.Rename(dir, hidden) },
		func() error { return os.Symlink(dir, dir) }, // a loop
	} {
		if err := replace(); err != nil {
			t.Fatal(err)
		}
	}
	if _, errors := b.next(t); len(errors) != 1 || !strings.Contains(errors[0], "too many levels of symbolic links") {
		t.Errorf("errors %q, want one about the directory", errors)
	}
	isPinned(true, "while its directory cannot be read")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	b.next(t)
	isPinned(false, "after the directory has gone")
}

// endless is a tar of a file again and again.
type endless struct{ header []byte }

func (e endless) Read(b []byte) (n int, err error) {
	for n+len(e.header) <= len(b) {
		n += copy(b[n:], e.header)
	}
	if n == 0 {
		return 0, io.ErrShortBuffer
	}
	return n, nil
}

func TestVeryManyFilesOfAnArchive(t *testing.T) {
	header := tarOf(t, file{"a", nil})[:512]
	_, err := readContents(io.MultiReader(bytes.NewReader(header), endless{header}))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("more than %d files", maxEntries)) {
		t.Errorf("readContents = %v, want a bound", err)
	}
}

func TestVeryManyNames(t *testing.T) {
	dir := t.TempDir()
	tags := make([]string, maxNames/2)
	for i := range tags {
		tags[i] = fmt.Sprintf("example.org/app:%d", i)
	}
	list := toJSON(t, []map[string]any{{"RepoTags": tags}})
	for _, name := range []string{"a.tar", "b.tar", "c.tar"} {
		save(t, dir, name, tarOf(t, file{"manifest.json", list}))
	}
	save(t, dir, "0.tar", newImage(t, app, "x").oci(t))
	im := New(slowStore{}, "kios.local/pause:1")
	var failed []string
	im.notify = func(_ string, fields ...string) {
		failed = append(failed, fields[1])
		if !strings.Contains(fields[3], "more than 10000 images: remove images or archives") {
			t.Errorf("error = %q, want the bound, and what to do", fields[3])
		}
	}
	im.scan(t.Context(), []string{t.TempDir(), dir})
	if diff := cmp.Diff([]string{"a.tar", "0.tar"}, failed); diff != "" {
		t.Errorf("archives that are left out (-want +got):\n%s", diff)
	}
}
