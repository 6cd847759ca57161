package gobuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"kios/host/hosttool"
)

// Package is a package that a program is made of, with what "go list" says of it.
type Package struct {
	ImportPath, Dir   string
	GoFiles, CgoFiles []string
	ImportMap         map[string]string // what import paths in its files stand for
}

// Packages lists the packages that programs of one module are made of for a target, and
// those of the tests in that module's directory, each after those that it imports. Nothing
// is compiled.
func Packages(ctx context.Context, root string, t Target, programs ...Program) ([]Package, error) {
	p := programs[0]
	args := []string{"list", "-deps", "-test", "-json=ImportPath,Dir,GoFiles,CgoFiles,ImportMap", "-tags", p.Tags + "," + testTags}
	for _, other := range programs {
		if other.Dir != p.Dir || other.ModFile != p.ModFile || other.Tags != p.Tags || other.CGO != p.CGO {
			return nil, fmt.Errorf("%s and %s are built in different ways", p.Name, other.Name)
		}
		args = append(args, other.Package)
	}
	args = append(args, "./...")
	cmd := hosttool.Exec(ctx, "go", args...)
	cmd.Dir, cmd.Env = filepath.Join(root, p.Dir), t.environ(p)
	var stderr tail
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, explain(err, string(stderr))
	}
	return decodePackages(out)
}

// testTags are those of tests in modules of upstream programs.
const testTags = "guest,root"

func decodePackages(text []byte) (all []Package, err error) {
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var p Package
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if !strings.HasSuffix(p.ImportPath, ".test") { // the main package of tests, which go makes
			all = append(all, p)
		}
	}
}
