package trial

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kios/internal/userfile"
)

// Bounds of a set. What goes beyond them is tried, but not kept.
const (
	maxFile  = 1 << 20 // bytes
	maxSet   = 4 << 20 // bytes
	maxFiles = 256     // and as many names in one directory
	maxDepth = 4       // of directories below Sources.Tree
	maxNames = 4096    // that are looked at, in whatever directories: links may lead to the same ones again and again
)

// Sources say which files make the set of a daemon. All names are below a directory
// that is laid out as /etc is.
type Sources struct {
	// Names are files, or patterns of path.Match for names in one directory.
	Names []string
	// Tree is a directory that belongs to the set with all that is below it, but for
	// the directory Except. Names that begin with a dot are left out.
	Tree, Except string
	// Imports finds further names of files in the text of one of the tree, or is nil.
	Imports func(text []byte) []string
}

// Set is what the files of a daemon are at one moment: their names below /etc.
type Set map[string]file

// file is the content of a file, or why that is not known.
type file struct {
	sum  [sha256.Size]byte
	text []byte // nil once it is not needed any more
	odd  string // why there is no content; then sum is of this
}

func newFile(text []byte) file { return file{sum: sha256.Sum256(text), text: text} }

func oddFile(why string) file { return file{sum: sha256.Sum256([]byte("odd " + why)), odd: why} }

// Read reads the set as it is below a directory.
func (s Sources) Read(etc string) Set {
	r := reader{etc: etc, set: Set{}}
	for _, name := range s.Names {
		r.match(name)
	}
	if s.Tree != "" {
		r.walk(s.Tree, s.Except, 0)
	}
	if s.Imports != nil {
		for _, name := range r.imports(s.Imports) {
			r.match(name)
		}
	}
	return r.set
}

// reader fills a set within its bounds.
type reader struct {
	etc   string
	size  int
	names int // looked at
	set   Set
}

// full reports whether nothing more is read, and notes it.
func (r *reader) full() bool {
	if len(r.set) < maxFiles && r.size < maxSet && r.names < maxNames {
		return false
	}
	r.set["."] = oddFile(fmt.Sprintf("the files are more than %d, in too many directories, or larger than %d MiB together", maxFiles, maxSet>>20))
	return true
}

// match adds the files that fit a pattern. Only its last element may be one.
func (r *reader) match(pattern string) {
	dir, base := path.Split(pattern)
	if !strings.ContainsAny(base, `*?[\`) {
		r.add(pattern)
		return
	}
	for _, name := range r.list(path.Clean(dir)) {
		if fits, err := path.Match(base, name); err == nil && fits {
			r.add(dir + name)
		}
	}
}

// list returns the names in a directory, sorted.
func (r *reader) list(dir string) []string {
	if r.full() {
		return nil
	}
	// A named pipe in its place is not waited for.
	f, err := os.OpenFile(filepath.Join(r.etc, dir), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxFiles + 1)
	r.names += len(names)
	slices.Sort(names)
	if len(names) > maxFiles {
		r.set[dir] = oddFile(fmt.Sprintf("it holds more than %d files", maxFiles))
		return names[:maxFiles]
	}
	return names
}

func (r *reader) walk(dir, except string, depth int) {
	if depth > maxDepth {
		r.set[dir] = oddFile("it is too deep")
		return
	}
	for _, base := range r.list(dir) {
		if r.full() {
			return
		}
		name := path.Join(dir, base)
		if base[0] == '.' || name == except {
			continue
		}
		// A link to a directory counts as one. One that leads back is too deep some time.
		if info, err := os.Stat(filepath.Join(r.etc, name)); err == nil && info.IsDir() {
			r.walk(name, except, depth+1)
		} else {
			r.add(name)
		}
	}
}

// add reads a file. What is not there, or is a link to nothing, is no part of a set.
func (r *reader) add(name string) {
	if _, known := r.set[name]; known {
		return
	}
	if r.full() {
		return
	}
	full := filepath.Join(r.etc, name)
	text, err := userfile.Read(full, min(maxFile, int64(maxSet-r.size)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, userfile.ErrTooLarge):
		r.set[name] = oddFile(tooLarge(full))
	case err != nil:
		r.set[name] = oddFile(err.Error())
	default:
		r.size += len(text)
		r.set[name] = newFile(text)
	}
}

// tooLarge tells a large file from a changed one without reading it.
func tooLarge(full string) string {
	info, err := os.Stat(full)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("it is too large: %d bytes, of %d", info.Size(), info.ModTime().UnixNano())
}

func (r *reader) imports(find func([]byte) []string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(r.set)) {
		names = append(names, find(r.set[name].text)...)
	}
	return names[:min(len(names), maxFiles)]
}

// Equal reports whether two sets have the same names and contents.
func (s Set) Equal(other Set) bool { return len(s.Differing(other)) == 0 }

// Differing returns the names of files that are not the same in another set, sorted.
func (s Set) Differing(other Set) []string {
	var names []string
	for name, f := range s {
		if g, there := other[name]; !there || f.sum != g.sum {
			names = append(names, name)
		}
	}
	for name := range other {
		if _, there := s[name]; !there {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Odd returns a sentence for each file that is not known in full.
func (s Set) Odd() []string {
	var odd []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if s[name].odd != "" {
			odd = append(odd, name+": "+s[name].odd)
		}
	}
	return odd
}

// withoutContents returns a copy that can still be compared.
func (s Set) withoutContents() Set {
	c := make(Set, len(s))
	for name, f := range s {
		f.text = nil
		c[name] = f
	}
	return c
}
