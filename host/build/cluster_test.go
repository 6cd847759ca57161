package build

import (
	"path/filepath"
	"slices"
	"testing"

	"kios/host/arch"
	"kios/host/gobuild"
	"kios/host/oci"
	"kios/test/lab"
)

// Every program of an image is one that the build knows.
func TestClusterImagesHavePrograms(t *testing.T) {
	versions, err := gobuild.ControlPlaneVersions(lab.Root(t))
	lab.Must(t, err)
	all, err := gobuild.ControlPlane(lab.Root(t), versions[0])
	lab.Must(t, err)
	for _, i := range clusterImages {
		for _, name := range i.programs() {
			if !slices.ContainsFunc(append(all, gobuild.AddOns...), func(p gobuild.Program) bool { return p.Name == name }) {
				t.Errorf("image %s: no program is called %s", i.name, name)
			}
		}
	}
	for _, i := range workerImages() {
		if slices.Contains(i.programs(), "kubernetes") || slices.Contains(i.programs(), "etcd") {
			t.Errorf("a worker has the image %s", i.name)
		}
	}
}

// kubectl runs on this machine, whatever the nodes are.
func TestClusterTargets(t *testing.T) {
	for _, b := range builders(t) {
		if got := b.clusterTarget(kubectl).Arch.Name; got != arch.Host().Name {
			t.Errorf("a cluster of %s gets a kubectl for %s, want this machine's", b.Arch.Name, got)
		}
		for _, name := range append([]string{"etcd", "kubernetes", cniNFT}, cniPlugins...) {
			if got := b.clusterTarget(name).Arch.Name; got != b.Arch.Name {
				t.Errorf("a cluster of %s gets %s for %s", b.Arch.Name, name, got)
			}
		}
	}
}

// Workers alone have no layout for a control plane, and what is linked for people is what
// there is.
func TestWorkerLayouts(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(t.TempDir(), "tool")
	lab.WriteFile(t, tool, "x")
	image := oci.LayoutImage{Image: oci.Image{Name: "kios.local/x:1", Architecture: "arm64"}}
	p := &ClusterProducts{Bin: programs{kubectl: tool}}
	lab.Must(t, p.writeLayouts(dir, []oci.LayoutImage{image}, nil))
	if len(p.Worker) != 1 || p.ControlPlane != nil {
		t.Errorf("layouts = %v for workers, %v for the control plane, want one and none", p.Worker, p.ControlPlane)
	}
	paths, err := filepath.Glob(dir + "/*")
	lab.Must(t, err)
	var got []string
	for _, path := range paths {
		got = append(got, filepath.Base(path))
	}
	if want := []string{"kubectl", "node-images"}; !slices.Equal(got, want) {
		t.Errorf("products are %q, want %q", got, want)
	}
}
