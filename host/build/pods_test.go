package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kios/test/lab"
)

// writePod makes the folder of a pod below a checkout, with its manifest.
func writePod(t *testing.T, root, name, manifest string) {
	t.Helper()
	dir := filepath.Join(root, "pods", name)
	lab.WriteFile(t, filepath.Join(dir, name+".yaml"), manifest)
}

const podManifest = "kind: Pod\nmetadata:\n  name: NAME\n  namespace: kube-system\n  annotations:\n    kubernetes.io/description: does something\n"

func TestSystemPods(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"b", "a"} {
		writePod(t, root, name, strings.ReplaceAll(podManifest, "NAME", name))
	}
	recipe := "{title: tools, packages: [{name: p, licence: MIT}], paths: [/p], probes: [{package: p, command: [/p]}]}"
	lab.WriteFile(t, filepath.Join(root, "pods/a/image.yaml"), recipe)
	writePod(t, root, "example", "metadata: {name: example, namespace: default}\n")
	lab.Must(t, os.Mkdir(filepath.Join(root, "pods/shared"), 0o755))
	pods, err := (&Builder{Root: root}).SystemPods()
	lab.Must(t, err)
	var got []string
	for _, i := range bundled(pods) {
		got = append(got, i.name+" "+strings.Join(i.layers, "+"))
	}
	for _, p := range pods {
		got = append(got, p.path()+" "+p.purpose)
	}
	want := []string{
		"pause:1 pause", "system:VERSION system", "a:VERSION system+tools",
		"/etc/kubernetes/manifests/a.yaml static pod: does something",
		"/etc/kubernetes/manifests/b.yaml static pod: does something",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("images and manifests (-want +got):\n%s", diff)
	}
}

func TestSystemPodMistakes(t *testing.T) {
	for _, tt := range []struct{ manifest, want string }{
		{"metadata: [", "parse"},
		{strings.ReplaceAll(podManifest, "NAME", "other"), "name it for its folder"},
		{"metadata: {name: a, namespace: kube-system}", "kubernetes.io/description"},
	} {
		root := t.TempDir()
		writePod(t, root, "a", tt.manifest)
		if _, err := (&Builder{Root: root}).SystemPods(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("SystemPods with %q = %v, want an error with %q", tt.manifest, err, tt.want)
		}
	}
}

func TestTitlesOfLayersDiffer(t *testing.T) {
	const recipe = "{title: TITLE, packages: [{name: p, licence: MIT}], paths: [/p], probes: [{package: p, command: [/p]}]}"
	for _, tt := range []struct{ a, b, want string }{
		{"tools", "more", ""},
		{"tools", "tools", "pods/b/image.yaml: another layer has the title tools"},
		{"system", "tools", "pods/a/image.yaml: another layer has the title system"},
	} {
		root := t.TempDir()
		for name, title := range map[string]string{"a": tt.a, "b": tt.b} {
			writePod(t, root, name, strings.ReplaceAll(podManifest, "NAME", name))
			lab.WriteFile(t, filepath.Join(root, "pods", name, "image.yaml"), strings.ReplaceAll(recipe, "TITLE", title))
		}
		_, err := (&Builder{Root: root}).SystemPods()
		if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) {
			t.Errorf("SystemPods with the titles %s and %s = %v, want %q", tt.a, tt.b, err, tt.want)
		}
	}
}
