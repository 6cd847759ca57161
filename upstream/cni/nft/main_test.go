package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestArgv(t *testing.T) {
	for _, interpreter := range []string{"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"} {
		dir := directory(t, "nft", "libc.so.6", interpreter)
		want := []string{
			filepath.Join(dir, interpreter), "--inhibit-cache", "--library-path", dir,
			"--argv0", "nft", filepath.Join(dir, "nft"),
		}
		if got, err := argv(dir); err != nil || !slices.Equal(got, want) {
			t.Errorf("argv = %q, %v, want %q", got, err, want)
		}
	}
}

func TestArgvNeedsOneInterpreter(t *testing.T) {
	for _, names := range [][]string{{"nft"}, {"nft", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}} {
		if got, err := argv(directory(t, names...)); err == nil {
			t.Errorf("argv = %q in a directory with %q, want an error", got, names)
		}
	}
}

func directory(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
