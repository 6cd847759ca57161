package etccheck

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/test/lab"
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
		{"list", "- a\n", "not valid: "},
		{"Deployment", strings.Replace(goodPod, "Pod", "Deployment", 1), "kind is Deployment"},
		{"version", strings.Replace(goodPod, "v1", "v2", 1), `apiVersion is "v2"`},
		{"no name", strings.Replace(goodPod, "name: hello}", "}", 1), "metadata.name is missing"},
		{"no image", strings.Replace(goodPod, "image:", "imag:", 1), "spec.containers[0].image is missing"},
		{"wrong type", strings.Replace(goodPod, `"kios.local/hello:1"`, "[1]", 1), "cannot unmarshal array"},
		{"two", goodPod + "---\n" + goodPod, "has 2 YAML documents"},
		{"a comment before the separator", "# Source: x/templates/pod.yaml\n---\n" + goodPod, ""},
		{"a separator at the end", goodPod + "---\n", ""},
		{"a comment at the end", goodPod + "---\n# nothing\n\n", ""},
		{"dashes in a text", goodPod + "  hostname: |\n    ---\n    x\n", ""},
		{"a service account", goodPod + "  serviceAccountName: x\n", "need objects of the API server: remove serviceAccountName"},
		{"a secret", goodPod + "  volumes: [{name: a, secret: {secretName: b}}, {name: c, projected: {sources: [{downwardAPI: {}}, {configMap: {name: d}}]}}]\n", "remove volumes.projected.configMap, volumes.secret"},
		{"environment", strings.Replace(goodPod, `:1"}`, `:1", envFrom: [{configMapRef: {name: b}}], env: [{name: a, valueFrom: {secretKeyRef: {name: b, key: c}}}]}`, 1), "remove env.valueFrom.secretKeyRef, envFrom"},
		{"volumes without objects", goodPod + "  volumes: [{name: a, hostPath: {path: /x}}, {name: b, emptyDir: {}}, {name: c, nfs: {server: x, path: /}}, {name: d, projected: {sources: [{downwardAPI: {}}]}}]\n", ""},
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

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "kubernetes/manifests/good.yaml", goodPod, 0o600)
	writeFile(t, dir, "kubernetes/manifests/.hidden", "garbage", 0o600)
	if err := Check(dir, nil); err != nil {
		t.Errorf("good: error = %v", err)
	}
	writeFile(t, dir, "kubernetes/manifests/bad.yaml", "kind: [", 0o600)
	writeFile(t, dir, "kubernetes/manifests/sub/x.yaml", goodPod, 0o600)
	os.Symlink("nowhere", filepath.Join(dir, "kubernetes/manifests/zlink.yaml"))
	err := Check(dir, nil)
	for _, want := range []string{"manifests/bad.yaml: not valid: line 1", "manifests/sub: not a file", "manifests/zlink.yaml: no such file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want one with %q", err, want)
		}
	}
}

func TestCheckDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := Check(dir, nil); err != nil {
		t.Errorf("empty: error = %v", err)
	}
	if err := Check(filepath.Join(dir, "none"), nil); err == nil {
		t.Error("a missing directory was accepted")
	}
	file := writeFile(t, dir, "file", "", 0o600)
	if err := Check(file, nil); err == nil || !strings.Contains(err.Error(), "is not a directory") {
		t.Errorf("file: error = %v", err)
	}
	hidden := t.TempDir()
	writeFile(t, hidden, "kubernetes", "", 0o600)
	if err := Check(hidden, nil); err != nil { // the node deals with it, and Says has it
		t.Errorf("a file in place of a directory: error = %v", err)
	}
	writeFile(t, dir, "etc/kubernetes/x", "", 0o600)
	if err := Check(dir, nil); err == nil || !strings.Contains(err.Error(), "has a directory etc in it: give that one") {
		t.Errorf("parent: error = %v", err)
	}
}

func TestEmptyManifests(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "kubernetes/manifests/time.yaml", "\n", 0o600)
	system := []string{"network.yaml", "time.yaml"}
	if err := Check(dir, system); err != nil {
		t.Errorf("an empty manifest of a system pod: error = %v", err)
	}
	writeFile(t, dir, "kubernetes/manifests/tme.yaml", "", 0o600)
	if err := Check(dir, system); err == nil || !strings.Contains(err.Error(), "tme.yaml: is empty, which removes a system pod, but none has this name (network.yaml, time.yaml)") {
		t.Errorf("an empty manifest of no system pod: error = %v", err)
	}
}

func TestLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	writeFile(t, outside, "pod.yaml", goodPod, 0o600)
	writeFile(t, dir, "kubernetes/pod.yaml", goodPod, 0o600)
	link := func(target, at string) {
		at = filepath.Join(dir, at)
		lab.Must(t, os.MkdirAll(filepath.Dir(at), 0o700))
		lab.Must(t, os.Symlink(target, at))
	}
	link("../pod.yaml", "kubernetes/manifests/inside.yaml")
	link("/usr/share/zoneinfo/Europe/Berlin", "localtime")
	link("net/this.yaml", "kios/network.yaml")
	link("/etc/kubernetes/config.yaml", "kubernetes/config.d/10.yaml")
	if err := Check(dir, nil); err != nil {
		t.Errorf("links that lead to files of the node: error = %v", err)
	}
	link(filepath.Join(outside, "pod.yaml"), "kubernetes/manifests/outside.yaml")
	link("../../../elsewhere", "kubernetes/config.d/20.yaml")
	link("../shared/time.yaml", "kios/time.yaml")
	link("/etc/kios/net/disk.yaml", "kios/disk.yaml")
	err := Check(dir, nil)
	for _, want := range []string{"manifests/outside.yaml is a link to " + outside, "config.d/20.yaml is a link to ../../../elsewhere",
		"kios/time.yaml is a link to ../shared/time.yaml", "kios/disk.yaml is a link to /etc/kios/net/disk.yaml"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want one with %q", err, want)
		}
	}
}

func writeFile(t *testing.T, dir, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	lab.WriteFile(t, path, text)
	lab.Must(t, os.Chmod(path, mode))
	return path
}
