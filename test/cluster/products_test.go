//go:build cluster

package cluster

import (
	"context"
	"os"
	"sync"
	"testing"

	"kios/host/arch"
	"kios/host/build"
	"kios/host/progress"
	"kios/test/lab"
	"kios/test/lab/machine"
)

func TestMain(m *testing.M) { machine.Main(m) }

var (
	productsMu sync.Mutex
	built      = map[string]*build.ClusterProducts{}
)

// newest is the version of Kubernetes that clusters get.
func newest(t *testing.T) string {
	t.Helper()
	version, err := builder(t).NewestControlPlane()
	lab.Must(t, err)
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
	b, ctx := builder(t), context.WithoutCancel(t.Context())
	p, err := b.Cluster(ctx, version)
	if err == nil && b.Arch.Foreign() {
		// The control plane of most tests runs here, with the images of the nodes' architecture.
		var here *build.ClusterProducts
		if here, err = builderFor(t, arch.Host()).Cluster(ctx, version); err == nil {
			p.Bin = here.Bin
		}
	}
	if err != nil {
		t.Fatalf("build the control plane %s: %v", version, err)
	}
	built[version] = p
	return p
}

func builder(t *testing.T) *build.Builder {
	t.Helper()
	return builderFor(t, lab.Arch(t))
}

func builderFor(t *testing.T, a arch.Arch) *build.Builder {
	t.Helper()
	b, err := build.New(lab.Root(t), a, progress.New(os.Stderr))
	lab.Must(t, err)
	return b
}

// testImages are the archives that every node of the tests has, of whichever architecture.
func testImages(t *testing.T) []string {
	t.Helper()
	return []string{
		machine.ImageForAll(t, "workload", "workload", "tar", "test"),
		machine.ImageForAll(t, "probe", "probe"),
		machine.ImageForAll(t, "busclient", "busclient"),
	}
}
