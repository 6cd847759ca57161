package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// golden are the files that the tests of the pod metadata read.
const golden = "../../pods/metadata/cloudconfig/testdata/clusterapi"

// TestGolden holds that the files are still what Cluster API renders. To make them anew:
//
//	KIOS_UPDATE=1 go -C upstream/clusterapi test .
func TestGolden(t *testing.T) {
	specs, err := filepath.Glob(filepath.Join(golden, "*.spec.yaml"))
	if err != nil || len(specs) == 0 {
		t.Fatalf("specs in %s: %v, %v", golden, specs, err)
	}
	for _, spec := range specs {
		for _, version := range []string{"v1.30.0", "v1.37.0"} { // kubeadm's v1beta3 and v1beta4
			compare(t, spec, version)
		}
	}
}

func compare(t *testing.T, spec, version string) {
	t.Helper()
	text, err := os.ReadFile(spec)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Render(text, version)
	if err != nil {
		t.Fatalf("Render(%s, %s): %v", spec, version, err)
	}
	file := strings.TrimSuffix(spec, ".spec.yaml") + "." + version + ".txt"
	if os.Getenv("KIOS_UPDATE") != "" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what Cluster API renders of it any more: make it anew, and look at what has changed", file)
	}
}
