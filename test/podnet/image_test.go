//go:build cluster

package podnet

import (
	"encoding/json"
	"strings"
	"testing"

	"kios/host/clusterconfig"
	"kios/host/erofs"
	"kios/test/lab"
)

// inLayout returns the path of a file of the layout with the images of nodes.
func inLayout(t *testing.T, name string) string {
	t.Helper()
	return lab.ClusterOut(t, clusterconfig.DefaultKubernetes, "node-images/"+name)
}

// unpack extracts the layer of an image of the layout and returns the root
// directory.
func unpack(t *testing.T, image string) string {
	t.Helper()
	var index struct {
		Manifests []struct {
			Digest      string
			Annotations map[string]string
		}
	}
	readJSON(t, "index.json", &index)
	for _, m := range index.Manifests {
		if !strings.Contains(m.Annotations["org.opencontainers.image.ref.name"], "/"+image+":") {
			continue
		}
		var manifest struct{ Layers []struct{ Digest string } }
		readJSON(t, blob(m.Digest), &manifest)
		root := t.TempDir()
		if err := erofs.Extract(t.Context(), inLayout(t, blob(manifest.Layers[0].Digest)), root, erofs.Tools{}); err != nil {
			t.Fatalf("unpack the image %s: %v", image, err)
		}
		return root
	}
	t.Fatalf("%s has no image %s", inLayout(t, ""), image)
	return ""
}

func blob(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(lab.ReadFile(t, inLayout(t, name))), v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
