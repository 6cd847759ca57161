// Package inventory defines the list that a kiOS root carries about itself:
// for each file what it is for, where it comes from and under which licence,
// and which processes to expect on a running node.
//
// The build writes the list and checks it against the root, so that a file
// without a stated purpose fails the build; "kios inspect" reads it back.
package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
)

// Path is where the list is in the root.
const Path = "/usr/share/kios/manifest.json"

// Manifest is the list.
type Manifest struct {
	Version   string    `json:"version"` // of kiOS
	Files     []File    `json:"files"`
	Processes []Process `json:"processes"`
}

// File is a file or a symbolic link of the root. Directories are not listed.
type File struct {
	Path     string `json:"path"` // absolute
	Purpose  string `json:"purpose"`
	Upstream string `json:"upstream"` // project that it comes from
	Version  string `json:"version"`
	Licence  string `json:"licence"` // SPDX expression
}

// Process is one that runs on a node outside of any container.
type Process struct {
	Name    string `json:"name"` // as /proc/PID/comm has it
	Path    string `json:"path"`
	Purpose string `json:"purpose"`
}

// Parse reads a list. Fields that it does not know are of a newer kiOS, and left out.
func Parse(data []byte) (*Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("parse %s: %w", Path, err)
	}
	return &m, nil
}

// Tree returns the absolute paths, sorted, of all that is below dir and not a
// directory, as Check takes them.
func Tree(dir string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		paths = append(paths, "/"+filepath.ToSlash(rel))
		return err
	})
	sort.Strings(paths)
	return paths, err
}

// Check compares the paths of a root with the list. It names every file that
// the list does not know or states no purpose, upstream, version or licence
// for, and every entry of the list that has no file.
func Check(paths []string, m *Manifest) error {
	var errs []error
	listed := map[string]bool{}
	for _, f := range m.Files {
		if listed[f.Path] {
			errs = append(errs, fmt.Errorf("%s is listed twice", f.Path))
		}
		listed[f.Path] = true
		if field := f.missing(); field != "" {
			errs = append(errs, fmt.Errorf("%s has no stated %s", f.Path, field))
		}
	}
	present := map[string]bool{}
	for _, p := range paths {
		present[p] = true
		if !listed[p] {
			errs = append(errs, fmt.Errorf("%s has no stated purpose", p))
		}
	}
	for _, f := range m.Files {
		if !present[f.Path] {
			errs = append(errs, fmt.Errorf("%s is listed but not in the root", f.Path))
		}
	}
	for _, p := range m.Processes {
		if !present[p.Path] {
			errs = append(errs, fmt.Errorf("process %s: its file %s is not in the root", p.Name, p.Path))
		}
	}
	return errors.Join(errs...)
}

// missing names the first field that is empty.
func (f File) missing() string {
	for _, field := range []struct{ name, value string }{
		{"purpose", f.Purpose},
		{"upstream", f.Upstream},
		{"version", f.Version},
		{"licence", f.Licence},
	} {
		if field.value == "" {
			return field.name
		}
	}
	return ""
}
