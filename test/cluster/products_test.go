//go:build cluster

package cluster

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"kios/host/build"
	"kios/host/oci"
	"kios/host/progress"
	"kios/test/guest"
)

// out is where "kios build" puts its products.
const out = "../../_out/amd64/"

// scratch is a directory for all tests' images.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kios-cluster-images-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	scratch = dir
	return m.Run()
}

var (
	productsMu sync.Mutex
	built      = map[string]*build.ClusterProducts{}
)

// newest is the version of Kubernetes that clusters get.
func newest(t *testing.T) string {
	t.Helper()
	version, err := builder(t).NewestControlPlane()
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// products builds the control plane of a version, once, or takes it from the cache.
func products(t *testing.T, version string) *build.ClusterProducts {
	t.Helper()
	productsMu.Lock()
	defer productsMu.Unlock()
	if p := built[version]; p != nil {
		return p
	}
	p, err := builder(t).Cluster(context.WithoutCancel(t.Context()), version)
	if err != nil {
		t.Fatalf("build the control plane %s: %v", version, err)
	}
	built[version] = p
	return p
}

func builder(t *testing.T) *build.Builder {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	b, err := build.New(root, "amd64", progress.New(os.Stderr))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The images of the pods that tests run.
const (
	workloadImage = "kios.local/workload:1"
	probeImage    = "kios.local/probe:1"
	busImage      = "kios.local/busclient:1"
)

var (
	workloadArchive = sync.OnceValues(func() (string, error) { return makeImage("workload", workloadImage, "tar", "test") })
	probeArchive    = sync.OnceValues(func() (string, error) { return makeImage("probe", probeImage) })
	busArchive      = sync.OnceValues(func() (string, error) { return makeImage("busclient", busImage) })
)

// makeImage compiles a guest program and writes an archive of the image with
// it, and with links to it in /bin.
func makeImage(program, name string, links ...string) (string, error) {
	bin, err := guest.Compile(scratch, program)
	if err != nil {
		return "", err
	}
	image := oci.Image{
		Name:       name,
		Files:      []oci.File{{Path: "/" + program, Mode: 0o555, From: bin}, {Path: "/tmp", Mode: os.ModeDir | 0o777}},
		Entrypoint: []string{"/" + program},
	}
	for _, link := range links {
		image.Files = append(image.Files, oci.File{Path: "/bin/" + link, Mode: os.ModeSymlink, Data: []byte("/" + program)})
	}
	archive := filepath.Join(scratch, program+".tar")
	return archive, oci.Write(archive, image)
}

// testImages are the archives that every node of the tests has.
func testImages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, archive := range []func() (string, error){workloadArchive, probeArchive, busArchive} {
		path, err := archive()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, path)
	}
	return all
}
