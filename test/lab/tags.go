package lab

import (
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
)

// Tagged calls each for every Go file of the checkout that has build tags, also of
// the modules in upstream/, with the path below root.
func Tagged(root string, each func(path string, tags constraint.Expr)) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.ContainsAny(d.Name()[:1], "_."): // as go does: products, git's
			return filepath.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		expr, err := fileTags(path)
		if err != nil || expr == nil {
			return err
		}
		path, err = filepath.Rel(root, path)
		each(path, expr)
		return err
	})
}

// fileTags returns the build constraint of a file, or nil.
func fileTags(path string) (constraint.Expr, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
	if err != nil {
		return nil, err
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			if c.Pos() < file.Package && constraint.IsGoBuild(c.Text) {
				return constraint.Parse(c.Text)
			}
		}
	}
	return nil, nil
}

// Needs reports whether a file with these tags is compiled with the tag, and not
// without it.
func Needs(tags constraint.Expr, tag string) bool {
	return tags.Eval(func(t string) bool { return t == tag }) && !tags.Eval(func(string) bool { return false })
}
