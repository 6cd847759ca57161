//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"kios/host/build"
	"kios/test/guest"
)

var (
	probeOnce sync.Once
	probePath string
	probeErr  error
)

// probeImage builds the probe's image, once for all tests.
func probeImage(t *testing.T) string {
	t.Helper()
	probeOnce.Do(func() { probePath, probeErr = makeImage("probe", "kios.local/probe:1", "probe") })
	if probeErr != nil {
		t.Fatal(probeErr)
	}
	return probePath
}

// makeImage compiles a guest program and writes an archive of the image with it,
// title.tar.
func makeImage(title, name, program string) (string, error) {
	bin, err := guest.Compile(images, program)
	if err != nil {
		return "", err
	}
	archive := filepath.Join(images, title+".tar")
	return archive, build.WriteImage(archive, name, "/"+title, bin, "")
}

// images is a directory for all tests' archives.
var images string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kios-e2e-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	images = dir
	return m.Run()
}
