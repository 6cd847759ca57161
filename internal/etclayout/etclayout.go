// Package etclayout says what in a user's /etc has to be a directory, and what a file:
// something else in its place would hide what a node cannot do without. PID 1 puts that
// aside, and the host names it before.
package etclayout

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/userfile"
)

// Aside is what the name of something that was put aside ends in.
const Aside = ".bad"

// Need is something in /etc that a node does not work without.
type Need struct {
	Name string // below /etc
	Dir  bool
}

// Kind is the word for what it has to be.
func (n Need) Kind() string {
	if n.Dir {
		return "directory"
	}
	return "file"
}

// Needs are the directories and files of own, which is the OS's own /etc, and what the pod
// network mounts. Parents come before what is in them.
func Needs(own string) ([]Need, error) {
	needs := []Need{{"kios", true}, {"machine-id", false}}
	err := filepath.WalkDir(own, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == own || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		name, err := filepath.Rel(own, path)
		needs = append(needs, Need{name, d.IsDir()})
		return err
	})
	return needs, err
}

// Misfit is what a user has in the place of something else.
type Misfit struct {
	Need
	What string
}

// Kept is what is said of one in etc that was put aside, under another name beside it.
func (m Misfit) Kept(etc, aside string) string {
	path := filepath.Join(etc, m.Name)
	return fmt.Sprintf("%s is %s, and must be a %s: it is kept as %s, and the system's own is used: put a %s there, or nothing",
		path, m.What, m.Kind(), filepath.Join(filepath.Dir(path), aside), m.Kind())
}

// Misfits finds them in etc. What the user has removed stays removed, and a link to
// /dev/null removes a file by convention. What is below a misfit is none of its own.
func Misfits(etc string, needs []Need) (found []Misfit) {
	for _, n := range needs {
		if slices.ContainsFunc(found, func(m Misfit) bool { return strings.HasPrefix(n.Name, m.Name+"/") }) {
			continue
		}
		if what := n.fault(filepath.Join(etc, n.Name)); what != "" {
			found = append(found, Misfit{n, what})
		}
	}
	return found
}

// manifests are the directories in which the system pods are. A link in the place of one
// hides them even if there is a directory at its end.
var manifests = []string{"kubernetes", "kubernetes/manifests"}

// HidesPods reports whether the system pods are below it.
func (m Misfit) HidesPods() bool { return slices.Contains(manifests, m.Name) }

// fault says what is at path, if that is not what is needed. Nothing is opened.
func (n Need) fault(path string) string {
	link, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "a link that leads nowhere"
	case link.Mode()&fs.ModeSymlink != 0 && slices.Contains(manifests, n.Name):
		return "a link"
	case info.IsDir() == n.Dir && (n.Dir || info.Mode().IsRegular()), !n.Dir && userfile.IsNull(info):
		return ""
	}
	return kindOf(info.Mode())
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode.IsRegular():
		return "a file"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}
