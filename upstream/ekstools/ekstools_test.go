package main

import (
	"os"
	"testing"

	// The tests of pods/metadata/nodeconfig read its module's user data.
	_ "github.com/aws/karpenter-provider-aws/pkg/providers/amifamily/bootstrap/mime"
)

// The files in the sources are what this module's upstreams say.
func TestProducts(t *testing.T) {
	files := map[string]string{
		"limits":      "../../pods/metadata/eks/limits.txt",
		"expressions": "../../pods/metadata/nodeconfig/testdata/expressions.txt",
	}
	for name, file := range files {
		want, err := products[name]()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s is not what upstream says (%v): go run -C upstream/ekstools . %s %s", file, err, name, file)
		}
	}
}
