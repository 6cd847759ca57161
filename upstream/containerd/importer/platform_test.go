package importer

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	imagearchive "github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
)

// others are platforms that this machine's kernel runs no programs of: another processor,
// and this one with 32 bits. variant is the oldest of this one.
var others = map[string]struct{ foreign, small, variant string }{
	"amd64": {"arm64", "386", "v1"},
	"arm64": {"amd64", "arm", "v8"},
}[runtime.GOARCH]

// on is the image app for a platform, with its descriptor in an index.
func on(t *testing.T, os, arch string) image {
	t.Helper()
	p := ocispec.Platform{OS: os, Architecture: arch}
	i := newImageFor(t, p, app, arch)
	i.target.Platform, i.target.Annotations = &p, nil
	return i
}

// attestation is what BuildKit adds to an index for each image.
func attestation(t *testing.T, of image) image {
	t.Helper()
	i := on(t, "unknown", "unknown")
	i.layer = []byte(`{"_type":"https://in-toto.io/Statement/v0.1"}`)
	i.manifest = toJSON(t, ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    descriptor(ocispec.MediaTypeImageConfig, i.config),
		Layers:    []ocispec.Descriptor{descriptor("application/vnd.in-toto+json", i.layer)},
	})
	platform := i.target.Platform
	i.target = descriptor(ocispec.MediaTypeImageManifest, i.manifest)
	i.target.Platform = platform
	i.target.Annotations = map[string]string{
		"vnd.docker.reference.type":   "attestation-manifest",
		"vnd.docker.reference.digest": of.target.Digest.String(),
	}
	return i
}

// listing is an index that lists images, with a name if it is that of an archive.
func listing(t *testing.T, name string, all ...image) (index []byte) {
	t.Helper()
	var i ocispec.Index
	for _, image := range all {
		if desc := image.target; name == "" {
			i.Manifests = append(i.Manifests, desc)
		} else {
			desc.Annotations = map[string]string{ocispec.AnnotationRefName: name}
			i.Manifests = append(i.Manifests, desc)
		}
	}
	i.SchemaVersion, i.MediaType = 2, ocispec.MediaTypeImageIndex
	return toJSON(t, i)
}

// exported is the archive that containerd's own exporter makes of an index that it has
// the given blobs of.
func exported(t *testing.T, index []byte, has [][]byte, options func(content.Store) []imagearchive.ExportOpt) []byte {
	t.Helper()
	s, _ := newStore(t)
	ctx, cs := inK8s(t.Context()), s.client.ContentStore()
	for _, data := range append(has, index) {
		desc := descriptor("", data)
		if err := content.WriteBlob(ctx, cs, desc.Digest.String(), bytes.NewReader(data), desc); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	target := descriptor(ocispec.MediaTypeImageIndex, index)
	if err := imagearchive.Export(ctx, cs, &b, append(options(cs), imagearchive.WithManifest(target, app))...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// ctr are the options of "ctr image export", docker those of "docker save".
func ctr(content.Store) []imagearchive.ExportOpt {
	return []imagearchive.ExportOpt{imagearchive.WithPlatform(platforms.DefaultStrict())}
}

func docker(cs content.Store) []imagearchive.ExportOpt {
	return []imagearchive.ExportOpt{imagearchive.WithAllPlatforms(), imagearchive.WithSkipMissing(cs)}
}

// tarOfIndex is an OCI archive of blobs, with an index.json.
func tarOfIndex(t *testing.T, index []byte, blobs ...[]byte) []byte {
	t.Helper()
	files := []file{layout}
	for _, data := range blobs {
		files = append(files, blob(data))
	}
	return tarOf(t, append(files, file{"index.json", index})...)
}

// nested is an OCI archive whose index.json has one image, an index.
func nested(t *testing.T, index []byte, blobs ...[]byte) []byte {
	t.Helper()
	desc := descriptor(ocispec.MediaTypeImageIndex, index)
	return tarOfIndex(t, listing(t, app, image{target: desc}), append(blobs, index)...)
}

// logged runs the import of one archive, and returns what is said of it, on the console
// and in the log.
func logged(t *testing.T, s *store, dir string) (events, lines []string) {
	t.Helper()
	var b bytes.Buffer
	logger := logrus.New()
	logger.Out, logger.Level = &b, logrus.WarnLevel
	im := New(s, "kios.local/pause:1")
	im.notify = func(event string, fields ...string) { events = append(events, event+" "+fields[1]) }
	im.Run(log.WithLogger(t.Context(), logrus.NewEntry(logger)), []string{dir})
	return events, strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// An archive may list more than it has: other platforms, and attestations.
func TestArchivesThatListMoreThanTheyHave(t *testing.T) {
	own, small, foreign := on(t, "linux", runtime.GOARCH), on(t, "linux", others.small), on(t, "linux", others.foreign)
	proof := attestation(t, own)
	exact := own.target
	exact.Platform = &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH, Variant: others.variant}
	referrer := on(t, "linux", "s390x")
	referrer.target.Platform = nil
	blobs := [][]byte{own.layer, own.config, own.manifest}
	all := listing(t, "", small, foreign, own, proof, referrer)
	for name, data := range map[string][]byte{
		"ctr image export":         exported(t, listing(t, "", small, foreign, own, proof), blobs, ctr),
		"docker save":              exported(t, all, append(blobs, proof.layer, proof.config, proof.manifest), docker),
		"docker save, no contents": exported(t, all, append(blobs, proof.manifest, foreign.manifest, small.manifest), docker),
		"platforms in index.json":  tarOfIndex(t, listing(t, app, small, foreign, own, proof), blobs...),
		"platform with a variant":  nested(t, listing(t, "", foreign, image{target: exact}), blobs...),
		"compressed":               gzipped(t, nested(t, all, blobs...)),
	} {
		t.Run(name, func(t *testing.T) {
			s, db := newStore(t)
			dir := t.TempDir()
			file := "app.tar"
			save(t, dir, file, data)
			events, lines := logged(t, s, dir)
			if diff := cmp.Diff([]string{"image-imported " + file}, events); diff != "" || lines[0] != "" {
				t.Fatalf("events (-want +got):\n%s\nlines %q", diff, lines)
			}
			if _, err := db.GarbageCollect(inK8s(t.Context())); err != nil {
				t.Fatal(err)
			}
			checkImage(t, s, app, digest.FromBytes(own.config))
			if events, lines := logged(t, s, dir); events != nil || lines[0] != "" {
				t.Errorf("second run: events %q, lines %q, want nothing", events, lines)
			}
		})
	}
}

// An archive with nothing for this machine is named, and its name is not taken.
func TestArchivesForOtherMachines(t *testing.T) {
	own, small, foreign := on(t, "linux", runtime.GOARCH), on(t, "linux", others.small), on(t, "linux", others.foreign)
	proof := attestation(t, foreign)
	bare := newImageFor(t, *foreign.target.Platform, app, others.foreign)
	here := "linux/" + runtime.GOARCH + `"` // and no variant behind it
	nothing, another := "it has nothing for this machine, "+here, "it is for linux/"+others.foreign+": this machine is "+here
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"lists others only", nested(t, listing(t, "", foreign, proof), foreign.layer, foreign.config, foreign.manifest), nothing},
		{"lists this one", nested(t, listing(t, "", own, foreign), foreign.layer, foreign.config, foreign.manifest), nothing},
		{"32 bits", nested(t, listing(t, "", small), small.layer, small.config, small.manifest), nothing},
		{"others in index.json", tarOfIndex(t, listing(t, app, foreign, proof), foreign.layer, foreign.config, foreign.manifest), "is for"},
		{"attestations only", nested(t, listing(t, "", proof), proof.layer, proof.config, proof.manifest), nothing},
		{"no platform in index.json", bare.oci(t), another},
		{"docker save", bare.docker(t, app), another},
		{"without a layer", nested(t, listing(t, "", own), own.config, own.manifest), "blob " + digest.FromBytes(own.layer).String() + " is not in the archive"},
		{"without its index", tarOfIndex(t, listing(t, app, image{target: descriptor(ocispec.MediaTypeImageIndex, []byte("{}"))})), "is not in the archive"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newStore(t)
			dir := t.TempDir()
			save(t, dir, "app.tar", tt.data)
			events, lines := logged(t, s, dir)
			if diff := cmp.Diff([]string{"image-failed app.tar"}, events); diff != "" || len(lines) != 1 || !strings.Contains(lines[0], tt.want) {
				t.Errorf("events (-want +got):\n%s\nlines %q, want one with %q", diff, lines, tt.want)
			}
			if got := imageNames(t, s); len(got) > 0 {
				t.Errorf("there are images %q", got)
			}
		})
	}
}
