package runtimeinfo

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/typeurl/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// TestKnown holds the compiled-in answer against a real runc, the one that
// KIOS_RUNC names.
func TestKnown(t *testing.T) {
	runc := os.Getenv("KIOS_RUNC")
	if runc == "" {
		t.Fatal("KIOS_RUNC does not name a runc: \"make upstream\" builds one and tests with it")
	}
	out, err := exec.Command(runc, "features").Output()
	if err != nil {
		t.Fatal(err)
	}
	var real features.Features
	if err := json.Unmarshal(out, &real); err != nil {
		t.Fatal(err)
	}
	for _, o := range known.MountOptions {
		if !slices.Contains(real.MountOptions, o) {
			t.Errorf("%s has no mount option %s", runc, o)
		}
	}
	if diff := cmp.Diff(known.Linux.Namespaces, real.Linux.Namespaces); diff != "" {
		t.Errorf("namespaces (-known +%s):\n%s", runc, diff)
	}
	if diff := cmp.Diff(known.Linux.MountExtensions, real.Linux.MountExtensions); diff != "" {
		t.Errorf("mount extensions (-known +%s):\n%s", runc, diff)
	}
}

func TestIsOurs(t *testing.T) {
	request := func(path, binary string) *types.RuntimeRequest {
		opts, err := typeurl.MarshalAnyToProto(&options.Options{BinaryName: binary})
		if err != nil {
			t.Fatal(err)
		}
		return &types.RuntimeRequest{RuntimePath: path, Options: opts}
	}
	tests := []struct {
		name string
		req  *types.RuntimeRequest
		want bool
	}{
		{"the node's runc", request("io.containerd.runc.v2", "/bin/runc"), true},
		{"the user's runc", request("io.containerd.runc.v2", "/opt/runc"), false},
		{"another shim", request("io.containerd.runsc.v1", "/bin/runc"), false},
		{"no options", &types.RuntimeRequest{RuntimePath: "io.containerd.runc.v2"}, false},
	}
	for _, tt := range tests {
		if got := isOurs(tt.req); got != tt.want {
			t.Errorf("isOurs(%s) = %v, want %v", tt.name, got, tt.want)
		}
	}
}
