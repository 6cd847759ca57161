package main

import (
	"path/filepath"
	"strings"
	"testing"

	"kios/host/arch"
	"kios/host/gobuild"
	"kios/test/lab"
)

// writeModule makes a module of ours that imports one of others. Text of its files is by path.
func writeModule(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	lab.WriteFile(t, filepath.Join(root, "up/go.mod"), "module kios/upstream/up\n\ngo 1.26.0\n\nrequire example.com/theirs v0.0.0\n\nreplace example.com/theirs => ./theirs\n")
	lab.WriteFile(t, filepath.Join(root, "up/theirs/go.mod"), "module example.com/theirs\n\ngo 1.26.0\n")
	for path, text := range files {
		lab.WriteFile(t, filepath.Join(root, "up", path), text)
	}
	return root
}

var up = []gobuild.Program{{Name: "up", Dir: "up", Package: ".", Tags: "wanted"}}

// What is wrong for one architecture, or only with the tags of the build, is found for that
// one, and not for the others.
func TestCheckFinds(t *testing.T) {
	const main = "package main\n\nimport \"example.com/theirs\"\n\nfunc main() { print(theirs.Number) }\n"
	const theirs = "package theirs\n\nvar Number = 1\n"
	for name, tt := range map[string]struct {
		files map[string]string
		want  string // for arm64; nothing is wrong for amd64
	}{
		"nothing":    {map[string]string{"main.go": main, "theirs/theirs.go": theirs}, ""},
		"no file":    {map[string]string{"main.go": main, "theirs/theirs_amd64.go": theirs, "theirs/doc.go": "package theirs\n"}, "undefined: theirs.Number"},
		"no package": {map[string]string{"main.go": main, "theirs/theirs_amd64.go": theirs}, "build constraints exclude all Go files"},
		"our function": {map[string]string{
			"main.go": main, "theirs/theirs.go": theirs,
			"x_arm64.go": "package main\n\nfunc x() int { return \"\" }\n",
		}, "x_arm64.go"},
		"with a tag": {map[string]string{
			"main.go": main, "theirs/theirs.go": theirs,
			"x.go": "//go:build wanted && arm64\n\npackage main\n\nvar x int = \"\"\n",
		}, "x.go"},
		"our test": {map[string]string{
			"main.go": main, "theirs/theirs.go": theirs,
			"x_arm64_test.go": "package main\n\nvar x int = \"\"\n",
		}, "x_arm64_test.go"},
		"our test in a machine": {map[string]string{
			"main.go": main, "theirs/theirs.go": theirs,
			"sub/sub.go":          "package sub\n",
			"sub/x_arm64_test.go": "//go:build guest\n\npackage sub_test\n\nimport \"kios/upstream/up/sub\"\n\nvar x = sub.Missing\n",
		}, "undefined: sub.Missing"},
		"without the tag": {map[string]string{
			"main.go": main, "theirs/theirs.go": theirs,
			"x.go": "//go:build !wanted\n\npackage main\n\nvar x int = \"\"\n",
		}, ""},
		"size": {map[string]string{
			"main.go": main, "theirs/theirs.go": theirs,
			"x.go": "package main\n\nimport \"unsafe\"\n\nvar x [8]byte = [unsafe.Sizeof(uintptr(0))]byte{}\n",
		}, ""},
		"C": {map[string]string{
			"main.go": main, "theirs/theirs.go": "package theirs\n\n// #include <errno.h>\nimport \"C\"\n\nvar Number = int(C.ENOENT)\n",
			"theirs/other.go": "package theirs\n",
		}, "undefined: theirs.Number"}, // as without C, so for both
	} {
		t.Run(name, func(t *testing.T) {
			root := writeModule(t, tt.files)
			for _, a := range arch.All {
				want := tt.want
				if a.Name != "arm64" && name != "C" {
					want = ""
				}
				n, err := check(t.Context(), root, a, up)
				if want == "" && (err != nil || n < 2) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("check for %s = %d packages, %v, want an error with %q", a.Name, n, err, want)
				}
			}
		})
	}
}

// A program with C has the files with C.
func TestCheckWithC(t *testing.T) {
	root := writeModule(t, map[string]string{
		"main.go": "package main\n\n// #include <errno.h>\nimport \"C\"\n\nfunc main() { print(C.ENOENT); missing() }\n",
	})
	program := up[0]
	program.CGO = true
	for _, a := range arch.All {
		_, err := check(t.Context(), root, a, []gobuild.Program{program})
		if err == nil || !strings.Contains(err.Error(), "undefined: missing") || strings.Contains(err.Error(), "ENOENT") {
			t.Errorf("check for %s = %v, want an error about missing alone", a.Name, err)
		}
	}
}

// Each program that is compiled for nodes is in one group, with others of its module.
func TestGroups(t *testing.T) {
	got, err := groups(lab.Root(t))
	lab.Must(t, err)
	seen := map[string]bool{}
	for _, group := range got {
		for _, p := range group {
			if p.Dir != group[0].Dir || p.ModFile != group[0].ModFile || p.Tags != group[0].Tags || p.CGO != group[0].CGO {
				t.Errorf("%s and %s are built in different ways", p.Name, group[0].Name)
			}
			seen[p.Name] = true
		}
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc", "kubelet", "kubernetes", "kube-proxy", "etcd", "coredns", "flanneld", "portmap", "cni-nft"} {
		if !seen[name] {
			t.Errorf("%s is in no group", name)
		}
	}
}

func TestArchitectures(t *testing.T) {
	others, err := architectures(nil)
	lab.Must(t, err)
	if len(others) != len(arch.All)-1 {
		t.Errorf("without arguments: %d architectures, want all but this machine's", len(others))
	}
	if got, err := architectures([]string{"amd64", "arm64"}); err != nil || len(got) != 2 {
		t.Errorf("architectures(amd64, arm64) = %v, %v", got, err)
	}
	if _, err := architectures([]string{"riscv64"}); err == nil || !strings.Contains(err.Error(), "riscv64") {
		t.Errorf("architectures(riscv64) = %v, want an error that names it", err)
	}
}
