package hostpath

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// ExecPaths is the user's list of further directories whose programs may run.
const ExecPaths = "/etc/kios/exec-paths"

// MaxExecPaths bounds the mounts that a file can ask for.
const MaxExecPaths = 64

// ParseExecPaths returns the paths of the list, one a line. "#" begins a comment.
func ParseExecPaths(text string) (paths []string, err error) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			paths = append(paths, line)
		}
	}
	if len(paths) > MaxExecPaths {
		err = fmt.Errorf("%s has more than %d directories: the others are left out", ExecPaths, MaxExecPaths)
		paths = paths[:MaxExecPaths]
	}
	return paths, err
}

// NotUsed is what is said if the list cannot be read.
func NotUsed(err error) error { return fmt.Errorf("%s is not used: %w", ExecPaths, err) }

// CannotRun is what is said of a directory of the list that cannot be used.
func CannotRun(dir string, err error) error {
	return fmt.Errorf("%s: programs in %.200s cannot run: %w", ExecPaths, dir, err)
}

// ErrRelative refuses a directory without a slash at its beginning.
var ErrRelative = errors.New("give a path that begins with a slash")

// MayHold refuses directories that the list cannot have. dir is a path without links, and
// vars is /var.
func MayHold(dir, vars string) error {
	below, inside := strings.CutPrefix(dir, vars+"/")
	if first, _, _ := strings.Cut(below, "/"); !inside || slices.Contains([]string{"log", "meta", "run"}, first) {
		return fmt.Errorf("give a directory below %s, but not in its log, meta or run", vars)
	}
	return nil
}

// CheckExecPath is what can be said of a directory of the list without the node: the links
// of the root are known, and those in /var are not.
func CheckExecPath(dir string) error {
	if !path.IsAbs(dir) {
		return ErrRelative
	}
	dir = path.Clean(dir)
	for _, l := range Links {
		if rest, ok := strings.CutPrefix(dir+"/", "/"+l.Path+"/"); ok {
			dir = path.Join("/var", l.Dir, rest)
			break
		}
	}
	return MayHold(dir, "/var")
}
