package debimage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"kios/host/arch"
	"kios/host/oci"
)

// Recipe says what of which packages a layer of an image holds. It is written as
// YAML, beside what it is for: pods/time/image.yaml is one.
type Recipe struct {
	Title    string    `json:"title"` // of the layer
	Packages []Package `json:"packages"`
	Paths    []string  `json:"paths"` // what is wanted; libraries follow by themselves
	Files    []Text    `json:"files"` // what no package has
	Probes   []Probe   `json:"probes"`
}

// Package is a Debian package. Its version stands in versions.json.
type Package struct {
	Name    string `json:"name"`
	Licence string `json:"licence"` // SPDX expression, of the files that are taken
}

// Text is a small file, which everybody may read.
type Text struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// Probe runs a program that must print the upstream version of its package.
type Probe struct {
	Package string   `json:"package"`
	Command []string `json:"command"`
	// Netlink says that the program talks to the kernel by netlink before it prints
	// anything. qemu-user does not have all of netlink: there ld.so loads the program, and
	// that is all.
	Netlink bool `json:"netlink"`
}

// ParseRecipe reads a recipe. Unknown fields are errors.
func ParseRecipe(text []byte) (Recipe, error) {
	var r Recipe
	if err := yaml.UnmarshalStrict(text, &r); err != nil {
		return r, fmt.Errorf("parse the recipe: %w", err)
	}
	if r.Title == "" || len(r.Packages) == 0 || len(r.Paths) == 0 || len(r.Probes) == 0 {
		return r, errors.New("parse the recipe: it must have title, packages, paths and probes")
	}
	if slices.ContainsFunc(r.Probes, func(p Probe) bool { return len(p.Command) == 0 }) {
		return r, errors.New("parse the recipe: a probe must have a command")
	}
	return r, nil
}

// Collect returns the recipe's files, sorted by path. trees says where each of
// the packages of the architecture is unpacked.
func (r Recipe) Collect(a arch.Arch, trees map[string]string) ([]oci.File, error) {
	var dirs []string
	for _, p := range r.Packages {
		dir, ok := trees[p.Name]
		if !ok {
			return nil, fmt.Errorf("the package %s is missing (add it to versions.json)", p.Name)
		}
		dirs = append(dirs, dir)
	}
	files, err := Collect(a, dirs, r.Paths)
	if err != nil {
		return nil, err
	}
	for _, f := range r.Files {
		files = append(files, oci.File{Path: f.Path, Mode: 0o444, Data: []byte(f.Text)})
	}
	slices.SortFunc(files, func(a, b oci.File) int {
		return strings.Compare(strings.TrimPrefix(a.Path, "/"), strings.TrimPrefix(b.Path, "/"))
	})
	return files, nil
}

// Check runs every program of the recipe in a root directory of the files and
// demands that it is of the version that versions, by package, says. For qemu see
// Check.
func (r Recipe) Check(ctx context.Context, files []oci.File, versions map[string]string, qemu string) error {
	for _, p := range r.Probes {
		want := upstream(versions[p.Package])
		if want == "" {
			return fmt.Errorf("no version of %s is known", p.Package)
		}
		if err := p.check(ctx, files, want, qemu); err != nil {
			return err
		}
	}
	return nil
}

func (p Probe) check(ctx context.Context, files []oci.File, want, qemu string) error {
	if p.Netlink && qemu != "" {
		return checkLoads(ctx, files, p.Command[0], qemu)
	}
	return Check(ctx, files, p.Command, want, qemu)
}

// Licence returns the SPDX expression for all of the recipe.
func (r Recipe) Licence() string {
	var all []string
	for _, p := range r.Packages {
		l := p.Licence
		if strings.Contains(l, " OR ") && !strings.HasPrefix(l, "(") {
			l = "(" + l + ")"
		}
		if !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return strings.Join(all, " AND ")
}

// Origin names the packages with their versions.
func (r Recipe) Origin(versions map[string]string) string {
	var all []string
	for _, p := range r.Packages {
		all = append(all, p.Name+" "+versions[p.Name])
	}
	return "Debian " + strings.Join(all, ", ")
}

// upstream returns what of a Debian version the program itself knows: without
// epoch and revision (deb-version(7)).
func upstream(version string) string {
	if _, rest, found := strings.Cut(version, ":"); found {
		version = rest
	}
	if i := strings.LastIndexByte(version, '-'); i >= 0 {
		version = version[:i]
	}
	return version
}
