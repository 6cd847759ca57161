package diskimage

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/host/oci"
	"kios/test/lab"

	"github.com/google/go-cmp/cmp"
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
		got, err := ImageNames(path)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: error %v (-want +got)\n%s", tt.name, err, diff)
		}
	}
}

func TestImageNamesBadInput(t *testing.T) {
	good := string(tarBytes(t, ociArchive))
	pack := func(files ...tarFile) string { return string(tarBytes(t, files)) }
	tests := []struct{ name, data, want string }{
		{"empty", "", "is empty"},
		{"text", strings.Repeat("hello world ", 100), "is not a tar file"},
		{"short text", "hi", "is not a tar file"},
		{"gzip", "\x1f\x8b\x08", "is compressed with gzip: unpack it first, with gunzip"},
		{"zstd", "\x28\xb5\x2f\xfd", "is compressed with zstd"},
		{"program", "\x7fELF\x02", "is a program"},
		{"other tar", pack(tarFile{"etc/passwd", "root"}), "is neither an OCI layout nor the output of docker save"},
		{"no name", pack(tarFile{"index.json", `{"manifests":[{}]}`}), "has no image with a name"},
		{"bad index", pack(tarFile{"index.json", `{`}), "has a damaged index.json"},
		{"bad manifest", pack(tarFile{"manifest.json", `{}`}), "has a damaged manifest.json"},
		{"truncated", good[:3000], "is damaged or truncated"},
	}
	for _, tt := range tests {
		path := writeFile(t, t.TempDir(), "x.tar", tt.data, 0o600)
		_, err := ImageNames(path)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error = %v, want one with %q and the path", tt.name, err, tt.want)
		}
	}
	if _, err := ImageNames(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: error = %v", err)
	}
	if _, err := ImageNames(os.DevNull); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("device: error = %v", err)
	}
}

func TestLayout(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		lab.Must(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)))
	}
	write("oci-layout", "{}")
	write("index.json", `{"manifests":[{"digest":"sha256:a","annotations":{"io.containerd.image.name":"example.org/app:1"}}]}`)
	write("blobs/sha256/a", `{"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar"}]}`)
	if _, err := ImageNames(dir); err == nil || !strings.Contains(err.Error(), "make a tar file of it, with") {
		t.Errorf("layers to unpack: error = %v", err)
	}
	write("blobs/sha256/a", `{"layers":[{"mediaType":"`+string(oci.ErofsLayer)+`"}]}`)
	if names, err := ImageNames(dir); err != nil || len(names) != 1 || names[0] != "example.org/app:1" {
		t.Errorf("ImageNames = %v, %v", names, err)
	}
	images := t.TempDir()
	lab.Must(t, (&Options{OCI: []string{dir}}).stageImages(images))
	if _, err := os.Stat(filepath.Join(images, filepath.Base(dir), "blobs/sha256/a")); err != nil {
		t.Error(err)
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
		names, err := imageNames(bytes.NewReader(b))
		if (len(names) == 0) == (err == nil) {
			t.Errorf("imageNames = %v, %v", names, err)
		}
	})
}
