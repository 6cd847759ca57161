//go:build netns

package podnet

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kios/host/clusterconfig"
	"kios/host/erofs"
)

// What "kios cluster build" makes.
const (
	products = "../../_out/amd64/cluster/" + clusterconfig.DefaultKubernetes
	layout   = products + "/node-images"
)

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
		if err := erofs.Extract(t.Context(), filepath.Join(layout, blob(manifest.Layers[0].Digest)), root, erofs.Tools{}); err != nil {
			t.Fatalf("unpack the image %s: %v", image, err)
		}
		return root
	}
	t.Fatalf("%s has no image %s", layout, image)
	return ""
}

func blob(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(layout, name))
	if err != nil {
		t.Fatalf("%v: build it with kios cluster build", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
