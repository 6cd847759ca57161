//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"kios/internal/build"
)

var (
	probeOnce sync.Once
	probePath string
	probeErr  error
)

// probeImage builds the probe's image, once for all tests.
func probeImage(t *testing.T) string {
	t.Helper()
	probeOnce.Do(func() { probePath, probeErr = makeImage("probe", "kios.local/probe:1", "../guest/probe") })
	if probeErr != nil {
		t.Fatal(probeErr)
	}
	return probePath
}

// makeImage compiles a program and writes an archive of the image with it.
func makeImage(program, name, source string) (string, error) {
	dir := filepath.Join(images, program)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	bin := filepath.Join(dir, program)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", err
	}
	archive := filepath.Join(images, program+".tar")
	return archive, build.WriteImage(archive, name, "/"+program, bin, "")
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
