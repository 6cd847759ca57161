package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// layers are directories that become one /etc, the first on top.
type layers struct {
	target string
	lower  []string // the last is the OS's own
	upper  string   // takes what is written
	work   string
}

// mount mounts them. A user's file may be in the way of what a node cannot do without: a
// file, or a link to nowhere, in place of /etc/kubernetes hides all system pods. Such a file
// is put aside, and the OS's own shows.
func (l *layers) mount(say func(format string, args ...any)) error {
	needs, err := l.needs()
	if err != nil {
		return err
	}
	if err := overlay(l.target, l.lower, l.upper, l.work); err != nil {
		return err
	}
	misfits := l.misfits(needs)
	if len(misfits) == 0 {
		return nil
	}
	// The layers of an overlay that is mounted must not change.
	if err := unix.Unmount(l.target, 0); err != nil {
		return fmt.Errorf("%s in %s hides the system's own: %w", misfits[0].what, misfits[0].name, err)
	}
	for _, m := range misfits {
		l.putAside(m, say)
	}
	return overlay(l.target, l.lower, l.upper, l.work)
}

// need is something in /etc that a node does not work without.
type need struct {
	name string // below /etc
	dir  bool
}

func (n need) kind() string {
	if n.dir {
		return "directory"
	}
	return "file"
}

// needs are the directories and files of the OS's own /etc, and what the pod network mounts.
// Parents come before what is in them.
func (l *layers) needs() ([]need, error) {
	own := l.lower[len(l.lower)-1]
	needs := []need{{"kios", true}, {"machine-id", false}}
	err := filepath.WalkDir(own, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == own || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		name, err := filepath.Rel(own, path)
		needs = append(needs, need{name, d.IsDir()})
		return err
	})
	return needs, err
}

// misfit is what a user has in the place of something else.
type misfit struct {
	need
	what string
}

// misfits finds them. What the user has removed stays removed, and a link to /dev/null
// removes a file by convention. What is below a misfit is none of its own.
func (l *layers) misfits(needs []need) (found []misfit) {
	for _, n := range needs {
		if slices.ContainsFunc(found, func(m misfit) bool { return strings.HasPrefix(n.name, m.name+"/") }) {
			continue
		}
		if what := n.fault(filepath.Join(l.target, n.name)); what != "" {
			found = append(found, misfit{n, what})
		}
	}
	return found
}

// manifests are the directories in which the system pods are. A link in the place of one
// hides them even if there is a directory at its end.
var manifests = []string{"kubernetes", "kubernetes/manifests"}

// fault says what is at path, if that is not what is needed. Nothing is opened.
func (n need) fault(path string) string {
	link, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "a link that leads nowhere"
	case link.Mode()&fs.ModeSymlink != 0 && slices.Contains(manifests, n.name):
		return "a link"
	case info.IsDir() == n.dir && (n.dir || info.Mode().IsRegular()), !n.dir && isNull(info):
		return ""
	}
	return kindOf(info.Mode())
}

func isNull(info fs.FileInfo) bool {
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null)
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

// putAside renames a misfit in the layer that it is in. Where that cannot be, because the
// disk cannot be written to, nothing of the layer is used.
func (l *layers) putAside(m misfit, say func(format string, args ...any)) {
	path := filepath.Join(l.target, m.name)
	for i, layer := range slices.Concat([]string{l.upper}, l.lower[:len(l.lower)-1]) {
		at := filepath.Join(layer, m.name)
		if _, err := os.Lstat(at); err != nil {
			continue
		}
		aside, err := unused(at)
		if err == nil {
			err = os.Rename(at, aside)
		}
		if err == nil {
			say("%s is %s, and must be a %s: it is kept as %s, and the system's own is used: put a %s there, or nothing",
				path, m.what, m.kind(), filepath.Join(filepath.Dir(path), filepath.Base(aside)), m.kind())
			continue
		}
		say("%s is %s, and must be a %s: %v: no file that is with it in %s is used: put a %s there, or nothing",
			path, m.what, m.kind(), err, layer, m.kind())
		if i > 0 {
			l.lower = slices.DeleteFunc(slices.Clone(l.lower), func(dir string) bool { return dir == layer })
		}
	}
}

// unused returns a name for something that is put aside.
func unused(path string) (string, error) {
	for i := range 100 {
		name := path + ".bad"
		if i > 0 {
			name = fmt.Sprintf("%s%d", name, i)
		}
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
	}
	return "", errors.New("it has been put aside too often: remove what ends in .bad")
}
