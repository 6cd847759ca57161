package inventory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

func entry(path string) File {
	return File{Path: path, Purpose: "p", Upstream: "u", Version: "v", Licence: "l"}
}

func TestCheck(t *testing.T) {
	tests := []struct {
		name  string
		paths []string
		m     Manifest
		want  string
	}{
		{"complete", []string{"/a", "/b"}, Manifest{Files: []File{entry("/a"), entry("/b")}, Processes: []Process{{"a", "/a", "x"}}}, ""},
		{"file unlisted", []string{"/a", "/b"}, Manifest{Files: []File{entry("/a")}}, "/b has no stated purpose"},
		{"entry without file", []string{"/a"}, Manifest{Files: []File{entry("/a"), entry("/b")}}, "/b is listed but not in the root"},
		{"empty purpose", []string{"/a"}, Manifest{Files: []File{{Path: "/a", Upstream: "u", Version: "v", Licence: "l"}}}, "/a has no stated purpose"},
		{"empty licence", []string{"/a"}, Manifest{Files: []File{{Path: "/a", Purpose: "p", Upstream: "u", Version: "v"}}}, "/a has no stated licence"},
		{"twice", []string{"/a"}, Manifest{Files: []File{entry("/a"), entry("/a")}}, "/a is listed twice"},
		{"process without file", []string{"/a"}, Manifest{Files: []File{entry("/a")}, Processes: []Process{{"b", "/b", "x"}}}, "process b: its file /b is not in the root"},
		{"all errors at once", []string{"/a", "/b"}, Manifest{}, "/a has no stated purpose\n/b has no stated purpose"},
	}
	for _, tt := range tests {
		err := Check(tt.paths, &tt.m)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: Check() = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "bin"), 0o755)
	os.WriteFile(filepath.Join(dir, "bin/init"), nil, 0o755)
	os.Symlink("bin", filepath.Join(dir, "sbin"))
	got, err := Tree(dir)
	lab.Must(t, err)
	if diff := cmp.Diff([]string{"/bin/init", "/sbin"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestParse(t *testing.T) {
	m, err := Parse([]byte(`{"version":"1","colour":"of a newer kiOS","files":[{"path":"/a","purpose":"p","upstream":"u","version":"v","licence":"l"}],"processes":[]}`))
	lab.Must(t, err)
	if m.Version != "1" || m.Files[0] != entry("/a") {
		t.Errorf("Parse() = %+v", m)
	}
	for _, bad := range []string{"", "{", `[]`} {
		if _, err := Parse([]byte(bad)); err == nil || !strings.HasPrefix(err.Error(), "parse /usr/share/kios/manifest.json: ") {
			t.Errorf("Parse(%q): error = %v", bad, err)
		}
	}
}
