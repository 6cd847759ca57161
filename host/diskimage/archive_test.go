package diskimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kios/host/arch"
	"kios/host/oci"
	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

type tarFile struct{ name, text string }

var ociArchive = []tarFile{
	{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`},
	{"blobs/sha256/x", strings.Repeat("blob", 1000)},
	{"index.json", `{"schemaVersion":2,"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"kios.local/hello:1"}}]}`},
}

func writeArchive(t *testing.T, dir, name string, files []tarFile) string {
	t.Helper()
	return writeFile(t, dir, name, string(tarBytes(t, files)), 0o600)
}

func tarBytes(t testing.TB, files []tarFile) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		lab.Must(t, w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.text)), Mode: 0o644}))
		w.Write([]byte(f.text))
	}
	w.Close()
	return buf.Bytes()
}

func TestImageNames(t *testing.T) {
	tests := []struct {
		name  string
		files []tarFile
		want  []string
	}{
		{"OCI layout", ociArchive, []string{"kios.local/hello:1"}},
		{"with ./", []tarFile{{"./index.json", ociArchive[2].text}}, []string{"kios.local/hello:1"}},
		{"containerd's name", []tarFile{{"index.json", `{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"1","io.containerd.image.name":"a/b:1"}}]}`}}, []string{"a/b:1"}},
		{"docker save", []tarFile{{"manifest.json", `[{"RepoTags":["b:1","a:1"]},{"RepoTags":["a:1"]}]`}}, []string{"a:1", "b:1"}},
	}
	for _, tt := range tests {
		path := writeArchive(t, t.TempDir(), "x.tar", tt.files)
		got, err := ImageNames(t.Context(), path, arch.Host())
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got)\n%s", tt.name, err, diff)
		}
	}
}

func TestImageNamesBadInput(t *testing.T) {
	good := string(tarBytes(t, ociArchive))
	gzipped := compressed(t, "gzip", good)
	noise := make([]byte, 1<<20) // several blocks of zstd
	rand.Read(noise)
	zstded := compressed(t, "zstd", string(tarBytes(t, append(ociArchive, tarFile{"noise", string(noise)}))))
	pack := func(files ...tarFile) string { return string(tarBytes(t, files)) }
	tests := []struct{ name, data, want string }{
		{"empty", "", "is empty"},
		{"text", strings.Repeat("hello world ", 100), "is not a tar file"},
		{"short text", "hi", "is not a tar file"},
		{"half a gzip header", "\x1f\x8b\x08", "is damaged or truncated"},
		{"text in gzip", compressed(t, "gzip", strings.Repeat("hello world ", 100)), "is not a tar file"},
		{"truncated gzip", gzipped[:len(gzipped)/2], "is damaged or truncated"},
		{"gzip without its checksum", gzipped[:len(gzipped)-8], "is damaged or truncated"},
		{"truncated zstd", zstded[:len(zstded)-20], "is damaged or truncated"},
		{"xz", "\xfd7zXZ\x00", "is compressed with xz: unpack it first, with unxz"},
		{"program", "\x7fELF\x02", "is a program"},
		{"other tar", pack(tarFile{"etc/passwd", "root"}), "is neither an OCI layout nor the output of docker save"},
		{"no name", pack(tarFile{"index.json", `{"manifests":[{}]}`}), "has no image with a name"},
		{"bad index", pack(tarFile{"index.json", `{`}), "has a damaged index.json"},
		{"bad manifest", pack(tarFile{"manifest.json", `{}`}), "has a damaged manifest.json"},
		{"truncated", good[:3000], "is damaged or truncated"},
	}
	for _, tt := range tests {
		path := writeFile(t, t.TempDir(), "x.tar", tt.data, 0o600)
		_, err := ImageNames(t.Context(), path, arch.Host())
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error = %v, want one with %q and the path", tt.name, err, tt.want)
		}
	}
	if _, err := ImageNames(t.Context(), t.TempDir(), arch.Host()); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: error = %v", err)
	}
	if _, err := ImageNames(t.Context(), os.DevNull, arch.Host()); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("device: error = %v", err)
	}
}

// compressed returns a text as gzip or zstd make it.
func compressed(t *testing.T, kind, text string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if kind == "zstd" {
		var err error
		w, err = zstd.NewWriter(&b)
		lab.Must(t, err)
	}
	_, err := io.WriteString(w, text)
	lab.Must(t, errors.Join(err, w.Close()))
	return b.String()
}

// What a node reads, the host takes, under a name by which the node knows an archive.
func TestCompressedImages(t *testing.T) {
	dir := t.TempDir()
	good := string(tarBytes(t, ociArchive))
	for _, kind := range []string{"gzip", "zstd"} {
		path := writeFile(t, dir, kind+".tgz", compressed(t, kind, good), 0o600)
		names, err := ImageNames(t.Context(), path, arch.Host())
		if diff := cmp.Diff([]string{"kios.local/hello:1"}, names); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got)\n%s", kind, err, diff)
		}
		images := t.TempDir()
		lab.Must(t, (&Options{Arch: arch.Host(), OCI: []string{path}}).stageImages(t.Context(), images))
		if got := lab.ReadFile(t, filepath.Join(images, kind+".tgz.tar")); got != lab.ReadFile(t, path) {
			t.Errorf("%s: the node gets %d other bytes", kind, len(got))
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := ImageNames(done, path, arch.Host()); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: when it was cancelled, the error is %v", kind, err)
		}
	}
}

func TestLayout(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		lab.Must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)))
	}
	digest := strings.Repeat("a", 64)
	blob := "blobs/sha256/" + digest
	write("oci-layout", "{}")
	write("index.json", `{"manifests":[{"digest":"sha256:`+digest+`","annotations":{"io.containerd.image.name":"example.org/app:1"}}]}`)
	if err := checkLayers(dir, []byte(lab.ReadFile(t, dir+"/index.json"))); err == nil {
		t.Error("a layout without the image's manifest is taken")
	}
	write(blob, `{"manifests":[{"digest":"sha256:`+digest+`"}]}`)
	if err := checkLayers(dir, []byte(lab.ReadFile(t, dir+"/index.json"))); err == nil || !strings.Contains(err.Error(), "for several platforms, of which a node must choose: make a tar file") {
		t.Errorf("an index in the index: error = %v", err)
	}
	write(blob, `{"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar"}]}`)
	if _, err := ImageNames(t.Context(), dir, arch.Host()); err == nil || !strings.Contains(err.Error(), "make a tar file of it, with") {
		t.Errorf("layers to unpack: error = %v", err)
	}
	write(blob, `{"layers":[{"mediaType":"`+string(oci.ErofsLayer)+`"}]}`)
	link := filepath.Join(t.TempDir(), "link")
	lab.Must(t, os.Symlink(dir, link))
	for _, path := range []string{dir, link} {
		if names, err := ImageNames(t.Context(), path, arch.Host()); err != nil || len(names) != 1 || names[0] != "example.org/app:1" {
			t.Errorf("ImageNames(%s) = %v, %v", path, names, err)
		}
	}
	images := t.TempDir()
	lab.Must(t, (&Options{Arch: arch.Host(), OCI: []string{dir, link}}).stageImages(t.Context(), images))
	for _, name := range []string{filepath.Base(dir), "link"} {
		if _, err := os.Stat(filepath.Join(images, name, blob)); err != nil {
			t.Error(err)
		}
	}
}

// image returns the files of an image for a platform, and its descriptor in an index.
func image(name, os, arch string) (files []tarFile, descriptor string) {
	digest := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	config := fmt.Sprintf(`{"os":%q,"architecture":%q,"rootfs":{"type":"layers"}}`, os, arch)
	manifest := fmt.Sprintf(`{"config":{"digest":"sha256:%s"},"layers":[]}`, digest(config))
	files = []tarFile{{"blobs/sha256/" + digest(config), config}, {"blobs/sha256/" + digest(manifest), manifest}}
	return files, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","annotations":{"org.opencontainers.image.ref.name":%q}}`, digest(manifest), name)
}

// forPlatform is a descriptor with a platform.
func forPlatform(descriptor, arch string) string {
	return fmt.Sprintf(`%s,"platform":{"os":"linux","architecture":%q}}`, strings.TrimSuffix(descriptor, "}"), arch)
}

// absentFor is the descriptor of an image that is not in the archive.
func absentFor(arch string) string {
	return forPlatform(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:`+fmt.Sprintf("%x", sha256.Sum256([]byte(arch)))+`"}`, arch)
}

// indexed is an archive's image that is an index, as "ctr image export" writes them.
func indexed(manifests ...string) []tarFile {
	text := `{"manifests":[` + strings.Join(manifests, ",") + `]}`
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
	return []tarFile{{"blobs/sha256/" + digest, text},
		{"index.json", `{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:` + digest + `","annotations":{"io.containerd.image.name":"a.example/b:1"}}]}`}}
}

// What the node would not import is refused on the host.
func TestImagesThatNodesDoNotImport(t *testing.T) {
	for _, a := range arch.All {
		for _, other := range arch.All {
			if other.Name != a.Name {
				t.Run(a.Name+" and "+other.Name, func(t *testing.T) { checkRefused(t, a, other.Name) })
			}
		}
	}
}

// checkRefused has archives for a node of one architecture, and for another one.
func checkRefused(t *testing.T, node arch.Arch, other string) {
	theirs, theirDesc := image("a.example/app:1", "linux", other)
	own, ownDesc := image("a.example/app:2", "linux", node.Name)
	_, bare := image("v1", "linux", node.Name)
	proof := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + strings.Repeat("3", 64) + `","platform":{"os":"unknown","architecture":"unknown"}}`
	nested := fmt.Sprintf(`{"manifests":[%s]}`, theirDesc)
	nestedSum := fmt.Sprintf("%x", sha256.Sum256([]byte(nested)))
	variant := strings.Replace(forPlatform(ownDesc, node.Name), `"os":"linux"`, fmt.Sprintf(`"os":"linux","variant":%q`, node.Variants[0]), 1)
	for _, tt := range []struct {
		name  string
		files []tarFile
		want  string // "" if it can be imported
	}{
		{"another platform", append(theirs, tarFile{"index.json", `{"manifests":[` + theirDesc + `]}`}), "has no image for linux/NODE, only for linux/OTHER"},
		{"another platform in an index", append(theirs, tarFile{"blobs/sha256/" + nestedSum, nested},
			tarFile{"index.json", `{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:` + nestedSum + `","annotations":{"org.opencontainers.image.ref.name":"a.example/b:1"}}]}`}), "only for linux/OTHER"},
		{"two platforms", slices.Concat(theirs, own, []tarFile{{"index.json", `{"manifests":[` + theirDesc + "," + ownDesc + `]}`}}), ""},
		{"a variant that all have", slices.Concat(own, []tarFile{{"index.json", `{"manifests":[` + variant + `]}`}}), ""},
		{"docker save of another platform", []tarFile{{"c.json", `{"os":"linux","architecture":"s390x"}`}, {"manifest.json", `[{"Config":"c.json","RepoTags":["a:1"]}]`}}, "only for linux/s390x"},
		{"a bare tag", append(own, tarFile{"index.json", `{"manifests":[` + bare + `]}`}), `names an image only "v1"`},
		{"a bare tag among others", append(own, tarFile{"index.json", `{"manifests":[` + ownDesc + "," + bare + `]}`}), `names an image only "v1"`},
		{"platforms that are not inside", slices.Concat(own, indexed(forPlatform(ownDesc, node.Name), absentFor("386"), absentFor(other), proof)), ""},
		{"all platforms", slices.Concat(own, theirs, indexed(forPlatform(theirDesc, other), forPlatform(ownDesc, node.Name), proof)), ""},
		{"this platform is not inside", slices.Concat(theirs, indexed(absentFor(node.Name), forPlatform(theirDesc, other), proof)), "has no image for linux/NODE, only for linux/OTHER"},
		{"no platform is inside", indexed(absentFor(node.Name), absentFor(other)), "has no image for linux/NODE, it only lists some"},
		{"attestations only", indexed(proof), ""},
		{"the other one has no name", slices.Concat(theirs, own, []tarFile{{"index.json", `{"manifests":[` + theirDesc + "," + strings.Replace(ownDesc, "ref.name", "x", 1) + `]}`}}), "only for linux/OTHER"},
		{"an index that leads to itself", []tarFile{{"index.json", `{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:` + strings.Repeat("0", 64) + `","annotations":{"org.opencontainers.image.ref.name":"a.example/b:1"}}]}`},
			{"blobs/sha256/" + strings.Repeat("0", 64), `{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`}}, ""},
	} {
		_, err := ImageNames(t.Context(), writeArchive(t, t.TempDir(), "x.tar", tt.files), node)
		want := strings.NewReplacer("NODE", node.Name, "OTHER", other).Replace(tt.want)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error = %v, want one with %q", tt.name, err, want)
		}
	}
}

// One archive serves nodes of all architectures, and says what one of them will miss.
func TestImagesThatAreMissed(t *testing.T) {
	theirs, theirDesc := image("a.example/theirs:1", "linux", "s390x")
	files, descriptors := theirs, []string{forPlatform(theirDesc, "s390x"), strings.Replace(absentFor("s390x"), "{", `{"annotations":{"io.containerd.image.name":"a.example/absent:1"},`, 1)}
	for _, a := range arch.All {
		more, own := image("a.example/both:1", "linux", a.Name)
		files, descriptors = append(files, more...), append(descriptors, forPlatform(own, a.Name))
		more, own = image("a.example/"+a.Name+":1", "linux", a.Name)
		files, descriptors = append(files, more...), append(descriptors, own) // its configuration says what it is for
	}
	dir := t.TempDir()
	index := tarFile{"index.json", `{"manifests":[` + strings.Join(descriptors, ",") + `]}`}
	path := writeArchive(t, dir, "x.tar", append(files, index))
	for _, a := range arch.All {
		names, err := ImageNames(t.Context(), path, a)
		if diff := cmp.Diff([]string{"a.example/" + a.Name + ":1", "a.example/both:1"}, names); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got)\n%s", a.Name, err, diff)
		}
		var notes []string
		o := Options{Arch: a, OCI: []string{path}, Note: func(text string) { notes = append(notes, text) }}
		lab.Must(t, o.checkImages(t.Context()))
		all := strings.Join(notes, "\n")
		for _, want := range []string{"image a.example/theirs:1 of " + path + " is only for linux/s390x: this node, which is " + a.Name, "a.example/absent:1 of " + path + " is only listed there"} {
			if !strings.Contains(all, want) {
				t.Errorf("%s: no note says %q:\n%s", a.Name, want, all)
			}
		}
		if strings.Contains(all, "both:1") || strings.Contains(all, "a.example/"+a.Name) || len(notes) != 2+len(arch.All)-1 {
			t.Errorf("%s: notes\n%s", a.Name, all)
		}
	}
}

// A layout that nodes use in place is for nodes of its own architecture.
func TestLayoutForAnother(t *testing.T) {
	dir := t.TempDir()
	digest := strings.Repeat("a", 64)
	lab.WriteFile(t, filepath.Join(dir, "oci-layout"), "{}")
	lab.WriteFile(t, filepath.Join(dir, "index.json"), `{"manifests":[{"digest":"sha256:`+digest+`","platform":{"os":"linux","architecture":"s390x"},"annotations":{"io.containerd.image.name":"example.org/app:1"}}]}`)
	lab.WriteFile(t, filepath.Join(dir, "blobs/sha256", digest), `{"layers":[{"mediaType":"`+string(oci.ErofsLayer)+`"}]}`)
	want := "image layout " + dir + " has no image for linux/" + arch.Host().Name + ", only for linux/s390x"
	if _, err := ImageNames(t.Context(), dir, arch.Host()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error = %v, want %q", err, want)
	}
}

// A node uses one of two images with the same name, so the host wants to know which.
func TestImagesOfOneName(t *testing.T) {
	dir, host := t.TempDir(), arch.Host().Name
	oci := func(file, name, arch string) string {
		files, descriptor := image(name, "linux", arch)
		platform := fmt.Sprintf(`,"platform":{"os":"linux","architecture":%q}}`, arch)
		return writeArchive(t, dir, file, append(files, tarFile{"index.json", `{"manifests":[` + descriptor[:len(descriptor)-1] + platform + `]}`}))
	}
	other := func(file, name string) string {
		return writeArchive(t, dir, file, []tarFile{{"index.json", `{"manifests":[{"digest":"sha256:` + strings.Repeat("1", 64) + `","annotations":{"io.containerd.image.name":"` + name + `"}}]}`}})
	}
	docker := func(file, name, config string) string {
		return writeArchive(t, dir, file, []tarFile{{"c.json", config}, {"manifest.json", `[{"Config":"c.json","RepoTags":["` + name + `"]}]`}})
	}
	a := oci("a.tar", "example.org/app:1", host)
	both := writeArchive(t, dir, "both.tar", append(func() []tarFile {
		files, descriptor := image("example.org/app:1", "linux", host)
		return append(files, tarFile{"index.json", `{"manifests":[` + descriptor + `]}`})
	}(), tarFile{"manifest.json", `[{"RepoTags":["example.org/app:1"]}]`}))
	for _, tt := range []struct {
		name  string
		paths []string
		want  string // "" if a node uses all of them
	}{
		{"the same one twice", []string{a, oci("again.tar", "example.org/app:1", host), a}, ""},
		{"different ones", []string{a, other("b.tar", "example.org/app:1")}, "a.tar and " + dir + "/b.tar have different images of the name example.org/app:1, of which a node uses only one"},
		{"different tags", []string{a, other("c.tar", "example.org/app:2")}, ""},
		{"a short name", []string{other("d.tar", fullName("app")), docker("e.tar", "app", `{"os":"linux","architecture":"`+host+`"}`)}, "have different images of the name app"},
		{"docker save, different", []string{docker("f.tar", "app:1", `{"os":"linux","architecture":"`+host+`"}`), docker("g.tar", "app:1", `{"os":"linux","architecture":"`+host+`","created":"x"}`)}, "different images of the name app:1"},
		{"docker save, the same", []string{docker("h.tar", "app:1", `{}`), docker("i.tar", "app:1", `{}`)}, ""},
		{"an archive with both indexes", []string{a, both}, ""},
		{"the sandbox's", []string{other("j.tar", "kios.local/pause:1")}, "each pod needs the image of that name that is part of the OS"},
	} {
		err := (&Options{Arch: arch.Host(), OCI: tt.paths}).stageImages(t.Context(), t.TempDir())
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

// The host must judge as the node does, whose importer has containerd's normalisation.
func TestPlatform(t *testing.T) {
	for want, of := range map[string][][2]string{
		"linux/amd64":    {{"amd64", ""}, {"amd64", "v1"}, {"x86_64", ""}, {"AMD64", "V1"}},
		"linux/amd64/v3": {{"amd64", "v3"}},
		"linux/arm64":    {{"arm64", ""}, {"arm64", "v8"}, {"aarch64", "8"}, {"arm64", "V8.0"}},
		"linux/arm64/v9": {{"arm64", "v9"}},
		"linux/arm/v7":   {{"arm", "v7"}},
	} {
		for _, p := range of {
			if got := platform("linux", p[0], p[1]); got != want {
				t.Errorf("platform(linux, %q, %q) = %s, want %s", p[0], p[1], got, want)
			}
		}
	}
}

// An image for another platform takes no name from the one for nodes.
func TestImagesOfOnePlatform(t *testing.T) {
	theirs := `{"digest":"sha256:` + strings.Repeat("2", 64) + `","platform":{"os":"linux","architecture":"s390x"},"annotations":{"io.containerd.image.name":"example.org/app:1"}}`
	own := strings.NewReplacer("2222", "1111", "s390x", arch.Host().Name).Replace(theirs)
	dir := t.TempDir()
	var paths []string
	for i, index := range []string{own, own + "," + theirs, theirs + "," + own} {
		paths = append(paths, writeArchive(t, dir, fmt.Sprint(i, ".tar"), []tarFile{{"index.json", `{"manifests":[` + index + `]}`}, {"blobs/sha256/" + strings.Repeat("1", 64), "{}"}}))
	}
	lab.Must(t, (&Options{Arch: arch.Host(), OCI: paths}).checkImages(t.Context()))
}

// A directory that is named by a link is copied like the directory itself.
func TestEtcByLink(t *testing.T) {
	dir := t.TempDir()
	lab.WriteFile(t, filepath.Join(dir, "real/hostname"), "n1")
	lab.Must(t, os.Symlink("real", filepath.Join(dir, "current")))
	to := filepath.Join(dir, "to")
	lab.Must(t, os.Mkdir(to, 0o755))
	lab.Must(t, (&Options{Etc: filepath.Join(dir, "current")}).stageEtc(t.Context(), to))
	if got := lab.ReadFile(t, filepath.Join(to, "hostname")); got != "n1" {
		t.Errorf("hostname = %q", got)
	}
}

func TestFreeName(t *testing.T) {
	used := map[string]bool{}
	var got []string
	for _, path := range []string{"a/x.tar", "b/x.tar", "c/x.tar", "x-2.tar", "y"} {
		got = append(got, freeName(path, ".tar", used))
	}
	if diff := cmp.Diff([]string{"x.tar", "x-2.tar", "x-3.tar", "x-2-2.tar", "y.tar"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func FuzzImageNames(f *testing.F) {
	f.Add(tarBytes(f, ociArchive))
	f.Fuzz(func(t *testing.T, b []byte) {
		images, err := archiveImages(bytes.NewReader(b), platformOf(arch.Host()))
		if (len(images) == 0) == (err == nil) {
			t.Errorf("archiveImages = %v, %v", images, err)
		}
	})
}
