package diskimage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodPod = `apiVersion: v1
kind: Pod
metadata: {name: hello}
spec:
  containers:
  - {name: hello, image: "kios.local/hello:1"}
`

func TestCheckPod(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"good", goodPod, ""},
		{"good with a separator", "---\n" + goodPod, ""},
		{"JSON", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"a","image":"b"}]}}`, ""},
		{"garbage", "\x00\x01\x02", "not valid: "},
		{"tab", "a:\n\tb: c\n", "line 2: found character that cannot start any token"},
		{"key twice", goodPod + "kind: Pod\n", `line 7: key "kind" already set in map`},
		{"empty", "", "has no kind"},
		{"list", "- a\n", "not valid: "},
		{"Deployment", strings.Replace(goodPod, "Pod", "Deployment", 1), "kind is Deployment"},
		{"version", strings.Replace(goodPod, "v1", "v2", 1), `apiVersion is "v2"`},
		{"no name", strings.Replace(goodPod, "name: hello}", "}", 1), "metadata.name is missing"},
		{"no image", strings.Replace(goodPod, "image:", "imag:", 1), "spec.containers[0].image is missing"},
		{"wrong type", strings.Replace(goodPod, `"kios.local/hello:1"`, "[1]", 1), "cannot unmarshal array"},
		{"two", goodPod + "---\n" + goodPod, "has 2 YAML documents"},
	}
	for _, tt := range tests {
		err := checkPod([]byte(tt.text))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v, want one with %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %q has more than one line", tt.name, err)
		}
	}
}

func TestCheckEtc(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "kubernetes/manifests/good.yaml", goodPod, 0o600)
	writeFile(t, dir, "kubernetes/manifests/.hidden", "garbage", 0o600)
	if err := CheckEtc(dir); err != nil {
		t.Errorf("good: error = %v", err)
	}
	writeFile(t, dir, "kubernetes/manifests/bad.yaml", "kind: [", 0o600)
	writeFile(t, dir, "kubernetes/manifests/sub/x.yaml", goodPod, 0o600)
	os.Symlink("nowhere", filepath.Join(dir, "kubernetes/manifests/zlink.yaml"))
	err := CheckEtc(dir)
	for _, want := range []string{"manifests/bad.yaml: not valid: line 1", "manifests/sub: not a file", "manifests/zlink.yaml: no such file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want one with %q", err, want)
		}
	}
}

func TestCheckEtcDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := CheckEtc(dir); err != nil {
		t.Errorf("empty: error = %v", err)
	}
	if err := CheckEtc(filepath.Join(dir, "none")); err == nil {
		t.Error("a missing directory was accepted")
	}
	file := writeFile(t, dir, "file", "", 0o600)
	if err := CheckEtc(file); err == nil || !strings.Contains(err.Error(), "is not a directory") {
		t.Errorf("file: error = %v", err)
	}
	writeFile(t, dir, "etc/kubernetes/x", "", 0o600)
	if err := CheckEtc(dir); err == nil || !strings.Contains(err.Error(), "has a directory etc in it: give that one") {
		t.Errorf("parent: error = %v", err)
	}
}
