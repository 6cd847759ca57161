//go:build cluster

package cluster

import (
	"context"
	"os"
	"sync"
	"testing"

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
	p, err := builder(t).Cluster(context.WithoutCancel(t.Context()), version)
	if err != nil {
		t.Fatalf("build the control plane %s: %v", version, err)
	}
	built[version] = p
	return p
}

func builder(t *testing.T) *build.Builder {
	t.Helper()
	b, err := build.New(lab.Root(t), lab.Arch(t), progress.New(os.Stderr))
	lab.Must(t, err)
	return b
}

// testImages are the archives that every node of the tests has.
func testImages(t *testing.T) []string {
	t.Helper()
	return []string{
		machine.Image(t, "workload", "workload", "tar", "test"),
		machine.Image(t, "probe", "probe"),
		machine.Image(t, "busclient", "busclient"),
	}
}
