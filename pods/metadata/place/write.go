package place

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/identity"
	"kios/internal/instance"
	"kios/internal/userfile"
	"kios/internal/wholefile"
)

// file is a file that is wanted.
type file struct {
	path    string
	content []byte
	mode    fs.FileMode
	named   bool // the user data name this very file
	system  bool // what is there without us is the system's, and not the user's
}

// present is what is at the path of a file.
type present struct {
	there   bool
	dir     bool
	content []byte // nil of what is no file, or too large to read
	mode    fs.FileMode
}

func (a *application) look(path string) present {
	full := filepath.Join(a.root, path)
	info, err := os.Lstat(full)
	if err != nil {
		return present{}
	}
	p := present{there: true, dir: info.IsDir(), mode: info.Mode()}
	if info.Mode().IsRegular() {
		p.content, _ = userfile.Read(full, userfile.Max)
	}
	return p
}

// is reports whether the content is that of the record.
func (p present) is(sum string) bool { return p.content != nil && hash(p.content) == sum }

// write writes those files that are not there as they are wanted: first all others, then
// the kubeconfigs, unless something has failed.
func (a *application) write(files []file) {
	var last, first []file
	for _, f := range files {
		if !a.decide(&f) {
			continue
		}
		if slices.Contains(kubeconfigs, f.path) {
			last = append(last, f)
		} else {
			first = append(first, f)
		}
	}
	first, last = a.keep(first), a.keep(last)
	if err := a.save(); err != nil {
		a.errs = append(a.errs, err)
		return
	}
	a.writeAll(first)
	if len(a.errs) == 0 {
		a.writeAll(last)
	}
}

// decide reports whether a file has to be written.
func (a *application) decide(f *file) bool {
	if err := instance.Check(a.root, f.path); err != nil {
		a.result.say("%v: it is left out", err)
		return false
	}
	now := a.look(f.path)
	if now.dir {
		a.result.say("%s is a directory: no file is put in its place", f.path)
		return false
	}
	if f.path == "/etc/hosts" {
		f.content = []byte(identity.WithNode(string(f.content), string(now.content)))
	}
	same := now.content != nil && string(now.content) == string(f.content)
	sum, ours := a.record.Files[f.path]
	switch {
	case ours && same && now.mode == f.mode:
		a.record.Files[f.path] = hash(f.content)
		return false
	case f.named || !now.there || ours && (sum == "" || now.is(sum)) || !ours && f.system:
		return true
	}
	delete(a.record.Files, f.path) // it is the user's now
	if !same {
		a.result.say("%s is left alone: it was not written from the metadata, or was changed since: remove it to have it from there", f.path)
	}
	return false
}

// keep keeps what others have at the paths of files, and notes that these are about to be
// written. A file that cannot be kept is not written over.
func (a *application) keep(files []file) (good []file) {
	for _, f := range files {
		if _, ours := a.record.Files[f.path]; !ours {
			if err := instance.Keep(a.root, f.path); err != nil {
				a.result.say("%s is left alone: what is there cannot be kept: %v", f.path, userfile.Reason(err))
				continue
			}
		}
		a.record.Files[f.path] = ""
		good = append(good, f)
	}
	return good
}

func (a *application) writeAll(files []file) {
	for _, f := range files {
		path := filepath.Join(a.root, f.path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = wholefile.Durable(path, f.content, f.mode)
		}
		switch {
		case err != nil && f.named && strings.HasPrefix(f.path, "/run/"):
			a.result.say("%v", err) // for programs that a node does not have
			continue
		case err != nil:
			a.errs = append(a.errs, err)
			continue
		}
		a.record.Files[f.path] = hash(f.content)
		a.result.Written = append(a.result.Written, f.path)
	}
}

// remove takes away what the record has and nobody wants any more.
func (a *application) remove(files []file, kept []string) {
	for path, sum := range a.record.Files {
		if slices.Contains(kept, path) || slices.ContainsFunc(files, func(f file) bool { return f.path == path }) {
			continue
		}
		if now := a.look(path); now.there && sum != "" && !now.is(sum) {
			a.result.say("%s was changed since it was written from the metadata, which do not have it any more: it is left alone", path)
			delete(a.record.Files, path)
			continue
		}
		if err := instance.Restore(a.root, path); err != nil {
			a.errs = append(a.errs, fmt.Errorf("remove %s: %w", path, err))
			continue
		}
		delete(a.record.Files, path)
		a.result.Removed = append(a.result.Removed, path)
	}
	slices.Sort(a.result.Removed)
}

// end writes the record, and returns what has failed.
func (a *application) end() error {
	err := a.save()
	if err == nil {
		for _, path := range a.result.Removed {
			err = errors.Join(err, instance.Forget(a.root, path))
		}
	}
	return errors.Join(append(a.errs, err)...)
}
