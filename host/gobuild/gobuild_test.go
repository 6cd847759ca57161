package gobuild

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kios/host/progress"
	"kios/test/lab"
)

const root = "../.." // the checkout

func TestUpstreamIsRequiredByItsModule(t *testing.T) {
	for _, p := range slices.Concat(Upstream, AddOns) {
		version, err := p.moduleVersion(t.Context(), filepath.Join(root, p.Dir))
		if err != nil || !strings.HasPrefix(version, "v") {
			t.Errorf("%s: version of %s = %q, %v, want one", p.Name, p.Module, version, err)
		}
	}
}

func TestVersionFlags(t *testing.T) {
	got := kubernetesVersion("v1.35.4")
	for _, want := range []string{
		"-X k8s.io/component-base/version.gitVersion=v1.35.4 ",
		"-X k8s.io/component-base/version.gitMajor=1 ",
		"-X k8s.io/client-go/pkg/version.gitMinor=35 ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("kubernetesVersion = %q, want %q in it", got, want)
		}
	}
	if got, want := containerdVersion("v2.4.2"), "version.Version=v2.4.2 "; !strings.Contains(got, want) {
		t.Errorf("containerdVersion = %q, want %q in it", got, want)
	}
}

func TestExplain(t *testing.T) {
	failed := errors.New("exit status 1")
	tests := []struct {
		err  error
		said string
		want string
	}{
		{fmt.Errorf("run: %w", exec.ErrNotFound), "", "install Go 1.26 or newer"},
		{failed, "Get \"https://proxy\": dial tcp: lookup proxy: no such host", "check the network and GOPROXY"},
		{failed, "go: go.mod requires go >= 1.99 (running go 1.26)", "install a newer Go"},
		{failed, "main.go:1: undefined: x", "undefined: x"},
	}
	for _, tt := range tests {
		if got := explain(tt.err, tt.said); !strings.Contains(got.Error(), tt.want) {
			t.Errorf("explain(%v, %q) = %q, want %q in it", tt.err, tt.said, got, tt.want)
		}
	}
}

// A module without dependencies stands in for the large ones: same flags, same
// cache, and the same bytes from another directory.
func TestBuildIsCachedAndReproducible(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	p := Program{Name: "tiny", Dir: "tiny", Package: ".", Module: "tiny", Tags: "x"}
	log := progress.New(&bytes.Buffer{})
	var binaries [2]string
	for i := range binaries {
		checkout := t.TempDir()
		lab.WriteFile(t, filepath.Join(checkout, "tiny/go.mod"), "module tiny\n\ngo 1.26.0\n")
		lab.WriteFile(t, filepath.Join(checkout, "tiny/main.go"), "package main\n\nfunc main() {}\n")
		path, err := Build(t.Context(), log, checkout, host(), p)
		lab.Must(t, err)
		binaries[i] = path
	}
	if binaries[0] != binaries[1] {
		t.Errorf("Build = %s, then %s from an equal checkout, want the cached one", binaries[0], binaries[1])
	}
	first, err := os.ReadFile(binaries[0])
	lab.Must(t, err)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	checkout := t.TempDir()
	lab.WriteFile(t, filepath.Join(checkout, "tiny/go.mod"), "module tiny\n\ngo 1.26.0\n")
	lab.WriteFile(t, filepath.Join(checkout, "tiny/main.go"), "package main\n\nfunc main() {}\n")
	path, err := Build(t.Context(), log, checkout, host(), p)
	lab.Must(t, err)
	second, err := os.ReadFile(path)
	lab.Must(t, err)
	if !bytes.Equal(first, second) {
		t.Errorf("%s and %s differ, want the same bytes from both checkouts", binaries[0], path)
	}
}

// A module of the checkout that stands in for another one decides the binary, too.
func TestBuildTakesInReplacements(t *testing.T) {
	gocache, err := exec.Command("go", "env", "GOCACHE").Output()
	lab.Must(t, err)
	t.Setenv("GOCACHE", strings.TrimSpace(string(gocache)))
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	checkout := t.TempDir()
	lab.WriteFile(t, filepath.Join(checkout, "up/tiny/go.mod"),
		"module tiny\n\ngo 1.26.0\n\nrequire leaf v0.0.0\n\nreplace leaf => ../../leaf\n")
	lab.WriteFile(t, filepath.Join(checkout, "up/tiny/main.go"), "package main\n\nimport \"leaf\"\n\nfunc main() { print(leaf.Text) }\n")
	lab.WriteFile(t, filepath.Join(checkout, "leaf/go.mod"), "module leaf\n\ngo 1.26.0\n")
	p := Program{Name: "tiny", Dir: "up/tiny", Package: ".", Module: "tiny"}
	for _, want := range []string{"one", "two"} {
		lab.WriteFile(t, filepath.Join(checkout, "leaf/leaf.go"), "package leaf\n\nvar Text = \""+want+"\"\n")
		path, err := Build(t.Context(), progress.New(&bytes.Buffer{}), checkout, host(), p)
		lab.Must(t, err)
		if got, err := exec.Command(path).CombinedOutput(); err != nil || string(got) != want {
			t.Errorf("the binary says %q, %v, want %q", got, err, want)
		}
	}
}

// The modules of the checkout that use one of ours say so in go.mod.
func TestReplacements(t *testing.T) {
	for _, p := range Upstream {
		got, err := p.replacements(t.Context(), filepath.Join(root, p.Dir))
		want := []string{"../../internal/wholefile"}
		if p.Name == "runc" {
			want = nil
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: replacements = %q, %v, want %q", p.Name, got, err, want)
		}
	}
}

func TestBuildErrorShowsTheCompilersWords(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	checkout := t.TempDir()
	lab.WriteFile(t, filepath.Join(checkout, "tiny/go.mod"), "module tiny\n\ngo 1.26.0\n")
	lab.WriteFile(t, filepath.Join(checkout, "tiny/main.go"), "package main\n\nfunc main() { nosuch() }\n")
	p := Program{Name: "tiny", Dir: "tiny", Package: ".", Module: "tiny"}
	_, err := Build(t.Context(), progress.New(&bytes.Buffer{}), checkout, host(), p)
	if err == nil || !strings.Contains(err.Error(), "build tiny") || !strings.Contains(err.Error(), "undefined: nosuch") {
		t.Errorf("Build = %v, want build tiny ... undefined: nosuch", err)
	}
}

func TestControlPlaneVersions(t *testing.T) {
	versions, err := ControlPlaneVersions(root)
	lab.Must(t, err)
	for _, want := range versions {
		programs, err := ControlPlane(root, want)
		lab.Must(t, err)
		for _, p := range programs {
			if got, err := p.moduleVersion(t.Context(), filepath.Join(root, p.Dir)); err != nil || got != want {
				t.Errorf("%s with %q: version = %q, %v, want %s", p.Name, p.ModFile, got, err, want)
			}
		}
	}
	if _, err := ControlPlane(root, "v1.2.3"); err == nil || !strings.Contains(err.Error(), versions[0]) {
		t.Errorf("ControlPlane(v1.2.3) = %v, want an error that names %s", err, versions[0])
	}
}
