package boot

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"kios/test/lab"
)

// A small machine does without all pods of the system but the network's, also without those
// that come with a later version.
func TestHideExtras(t *testing.T) {
	etc, layer := t.TempDir(), t.TempDir()
	for _, pod := range []string{"disk", "network", "one-more"} {
		lab.WriteFile(t, filepath.Join(etc, "kubernetes/manifests", pod+".yaml"), "kind: Pod\n")
	}
	pods, err := hideExtras(etc, layer)
	lab.Must(t, err)
	if want := []string{"disk", "one-more"}; !slices.Equal(pods, want) {
		t.Errorf("left out are %q, want %q", pods, want)
	}
	for _, pod := range pods {
		if got := lab.ReadFile(t, filepath.Join(layer, "kubernetes/manifests", pod+".yaml")); got != "" {
			t.Errorf("%s is %q, want an empty file in its place", pod, got)
		}
	}
	if _, err := os.Lstat(filepath.Join(layer, "kubernetes/manifests/network.yaml")); err == nil {
		t.Error("the pod network is hidden")
	}
}
