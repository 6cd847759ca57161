package main

import (
	"slices"
	"testing"
)

func TestArgv(t *testing.T) {
	want := []string{
		"/opt/cni/bin/.nft/ld-linux-x86-64.so.2", "--inhibit-cache", "--library-path", "/opt/cni/bin/.nft",
		"--argv0", "nft", "/opt/cni/bin/.nft/nft",
	}
	if got := argv("/opt/cni/bin/.nft"); !slices.Equal(got, want) {
		t.Errorf("argv = %q, want %q", got, want)
	}
}
