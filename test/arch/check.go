package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"

	"kios/host/arch"
	"kios/host/gobuild"
)

// check checks the packages of programs of one module and returns how many there are.
func check(ctx context.Context, root string, a arch.Arch, programs []gobuild.Program) (int, error) {
	packages, err := gobuild.Packages(ctx, root, gobuild.Target{Arch: a}, programs...)
	if err != nil {
		return 0, err
	}
	top, err := filepath.Abs(root)
	if err != nil {
		return 0, err
	}
	c := checker{top: top, files: token.NewFileSet(), sizes: types.SizesFor("gc", a.Name), done: map[string]*types.Package{"unsafe": types.Unsafe}}
	if c.sizes == nil {
		return 0, fmt.Errorf("the compiler of Go does not know %s", a.Name)
	}
	for _, p := range packages {
		if err := errors.Join(ctx.Err(), c.check(p)); err != nil {
			return 0, err
		}
	}
	return len(packages), nil
}

// checker has the packages that are checked.
type checker struct {
	top   string // directory of the checkout
	files *token.FileSet
	sizes types.Sizes
	done  map[string]*types.Package // by import path
}

// maxErrors is how many of a package are told.
const maxErrors = 10

func (c *checker) check(p gobuild.Package) error {
	if c.done[p.ImportPath] != nil {
		return nil
	}
	parsed, err := c.parse(p)
	if err != nil {
		return err
	}
	var found []error
	config := types.Config{
		IgnoreFuncBodies: !c.ours(p),
		FakeImportC:      true, // the C compiler sees to what it has
		Sizes:            c.sizes,
		Importer:         importer{c, p.ImportMap},
		Error:            func(err error) { found = append(found, err) },
	}
	c.done[p.ImportPath], _ = config.Check(p.ImportPath, c.files, parsed, nil)
	return errors.Join(found[:min(len(found), maxErrors)]...)
}

// ours reports whether a package is in the checkout. Nobody else compiles its functions.
func (c *checker) ours(p gobuild.Package) bool { return strings.HasPrefix(p.Dir, c.top+"/") }

func (c *checker) parse(p gobuild.Package) (parsed []*ast.File, err error) {
	for _, name := range slices.Concat(p.GoFiles, p.CgoFiles) {
		file, err := parser.ParseFile(c.files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, file)
	}
	return parsed, nil
}

// importer finds what the files of a package import.
type importer struct {
	*checker
	paths map[string]string
}

func (i importer) Import(path string) (*types.Package, error) {
	if other, found := i.paths[path]; found {
		path = other
	}
	if p := i.done[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("package %s is not among what is compiled", path)
}
