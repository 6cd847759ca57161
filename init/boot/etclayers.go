package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"kios/internal/etclayout"

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
	needs, err := etclayout.Needs(l.lower[len(l.lower)-1])
	if err != nil {
		return err
	}
	if err := overlay(l.target, l.lower, l.upper, l.work); err != nil {
		return err
	}
	misfits := etclayout.Misfits(l.target, needs)
	if len(misfits) == 0 {
		return nil
	}
	// The layers of an overlay that is mounted must not change.
	if err := unix.Unmount(l.target, 0); err != nil {
		return fmt.Errorf("%s in %s hides the system's own: %w", misfits[0].What, misfits[0].Name, err)
	}
	for _, m := range misfits {
		l.putAside(m, say)
	}
	return overlay(l.target, l.lower, l.upper, l.work)
}

// putAside renames a misfit in the layer that it is in. Where that cannot be, because the
// disk cannot be written to, nothing of the layer is used.
func (l *layers) putAside(m etclayout.Misfit, say func(format string, args ...any)) {
	path := filepath.Join(l.target, m.Name)
	for i, layer := range slices.Concat([]string{l.upper}, l.lower[:len(l.lower)-1]) {
		at := filepath.Join(layer, m.Name)
		if _, err := os.Lstat(at); err != nil {
			continue
		}
		aside, err := unused(at)
		if err == nil {
			err = os.Rename(at, aside)
		}
		if err == nil {
			say("%s", m.Kept(l.target, filepath.Base(aside)))
			continue
		}
		say("%s is %s, and must be a %s: %v: no file that is with it in %s is used: put a %s there, or nothing",
			path, m.What, m.Kind(), err, layer, m.Kind())
		if i > 0 {
			l.lower = slices.DeleteFunc(slices.Clone(l.lower), func(dir string) bool { return dir == layer })
		}
	}
}

// unused returns a name for something that is put aside.
func unused(path string) (string, error) {
	for i := range 100 {
		name := path + etclayout.Aside
		if i > 0 {
			name = fmt.Sprintf("%s%d", name, i)
		}
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
	}
	return "", errors.New("it has been put aside too often: remove what ends in .bad")
}
