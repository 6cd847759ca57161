package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kios/test/lab"
)

const (
	maxLines    = 60 // of a function's body
	medianLines = 9
)

// lengths calls each for every function of the tree, tests included, with the
// lines of its body.
func lengths(t *testing.T, each func(at token.Position, name string, lines int)) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), "_") { // products
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			lines := files.Position(f.Body.Rbrace).Line - files.Position(f.Body.Lbrace).Line - 1
			each(files.Position(f.Pos()), f.Name.Name, max(lines, 1))
		}
		return nil
	})
	lab.Must(t, err)
}

func TestFunctionsAreShort(t *testing.T) {
	var all []int
	lengths(t, func(at token.Position, name string, lines int) {
		all = append(all, lines)
		if lines > maxLines {
			t.Errorf("%s: %s has %d lines: split it, %d are the most", at, name, lines, maxLines)
		}
	})
	slices.Sort(all)
	if median := all[len(all)/2]; median > medianLines {
		t.Errorf("half of the functions have more than %d lines, want at most %d", median-1, medianLines)
	} else {
		t.Logf("%d functions, median %d lines, longest %d", len(all), median, all[len(all)-1])
	}
}
