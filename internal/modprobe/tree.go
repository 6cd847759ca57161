package modprobe

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Release returns the running kernel's release, which its modules' directory is
// named after.
func Release() (string, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return "", fmt.Errorf("ask for the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(uts.Release[:]), nil
}

// Dir returns where the modules of a kernel are.
func Dir(release string) string { return filepath.Join("/lib/modules", release) }

// Tree is the directory of the modules of one kernel, with depmod's lists. Each
// list is read when it is first needed and then kept as text, so a Tree that is
// not needed any more should be forgotten. It is not safe for use by several
// goroutines.
type Tree struct {
	dir   string
	texts map[string][]byte
}

// Open returns the Tree in dir. It reads nothing yet.
func Open(dir string) *Tree { return &Tree{dir: dir, texts: map[string][]byte{}} }

// Exists returns an error that wraps fs.ErrNotExist if there are no modules.
func (t *Tree) Exists() error {
	_, err := os.Stat(filepath.Join(t.dir, "modules.dep"))
	return err
}

// text returns a list of depmod's. One that is missing is empty, except
// modules.dep, without which there is no tree.
func (t *Tree) text(name string) ([]byte, error) {
	if text, found := t.texts[name]; found {
		return text, nil
	}
	text, err := os.ReadFile(filepath.Join(t.dir, name))
	if err != nil && (name == "modules.dep" || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	t.texts[name] = text
	return text, nil
}

// Resolve returns the modules that a name or an alias stands for, and nothing
// if the tree knows neither. A module that is built in counts.
func (t *Tree) Resolve(name string) ([]string, error) {
	name = Normalize(name)
	for _, find := range []func(string) ([]byte, error){t.dependencies, t.builtin} {
		if line, err := find(name); err != nil || line != nil {
			return []string{name}, err
		}
	}
	found, err := t.Aliases([]string{name})
	if err != nil || found[name] != nil {
		return found[name], err
	}
	return t.builtinAlias(name)
}

// dependencies returns the line of modules.dep for a module:
// "kernel/net/a.ko: kernel/net/b.ko kernel/lib/c.ko".
func (t *Tree) dependencies(module string) ([]byte, error) {
	text, err := t.text("modules.dep")
	return findModule(text, module, ':'), err
}

// builtin returns the line of modules.builtin for a module, which is a path.
func (t *Tree) builtin(module string) ([]byte, error) {
	text, err := t.text("modules.builtin")
	return findModule(text, module, '\n'), err
}

// findModule returns the line whose path, which ends at the given byte or with
// the line, is that of the module.
func findModule(text []byte, module string, end byte) []byte {
	for line := range bytes.Lines(text) {
		file := line
		if i := bytes.IndexByte(line, end); i >= 0 {
			file = line[:i]
		}
		file = file[bytes.LastIndexByte(file, '/')+1:]
		if len(file) > len(module) && file[len(module)] == '.' && sameName(file[:len(module)], module) {
			return bytes.TrimSuffix(line, []byte("\n"))
		}
	}
	return nil
}

// sameName takes - and _ as equal, as the kernel does. The second is in
// normal form.
func sameName(name []byte, normal string) bool {
	for i, c := range name {
		if c == '-' {
			c = '_'
		}
		if c != normal[i] {
			return false
		}
	}
	return true
}

// ModuleName turns a file's path into the module's name.
func ModuleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".")
	return Normalize(name)
}

// Normalize returns a module's name or an alias as the kernel has it: with _
// for -.
func Normalize(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Aliases returns the modules for each of the aliases that any stand for. It
// goes through modules.alias once, however many there are.
func (t *Tree) Aliases(aliases []string) (map[string][]string, error) {
	list := "modules.alias"
	if len(aliases) == 1 && strings.HasPrefix(aliases[0], "symbol:") {
		list = "modules.symbols" // for the kernel's symbol_request()
	}
	text, err := t.text(list)
	if err != nil {
		return nil, err
	}
	found, wanted := map[string][]string{}, sorted(aliases)
	for line := range bytes.Lines(text) {
		// "alias pci:v00008086d*sv*sd*bc*sc*i* e1000e"
		line, isAlias := bytes.CutPrefix(line, []byte("alias "))
		pattern, module, isPair := bytes.Cut(line, []byte(" "))
		if isAlias && isPair {
			wanted.match(pattern, func(name string) { add(found, name, module) })
		}
	}
	return found, nil
}

func add(found map[string][]string, name string, module []byte) {
	m := Normalize(string(bytes.TrimSpace(module)))
	if !slices.Contains(found[name], m) {
		found[name] = append(found[name], m)
	}
}

// names are aliases in normal form, in order, and as they were asked for.
type names []struct{ normal, name string }

func sorted(aliases []string) names {
	list := make(names, len(aliases))
	for i, name := range aliases {
		list[i].normal, list[i].name = Normalize(name), name
	}
	slices.SortFunc(list, func(a, b struct{ normal, name string }) int { return strings.Compare(a.normal, b.normal) })
	return list
}

// match calls do with each name that fits the pattern. Those that begin as the
// pattern does are neighbours, and for most of the patterns there are none:
// this is what makes tens of thousands of patterns a matter of milliseconds.
func (l names) match(pattern []byte, do func(name string)) {
	normalizePattern(pattern)
	fixed := pattern
	if i := bytes.IndexAny(pattern, "*?["); i >= 0 {
		fixed = pattern[:i]
	}
	first := sort.Search(len(l), func(i int) bool { return l[i].normal >= string(fixed) })
	for _, n := range l[first:] {
		if !strings.HasPrefix(n.normal, string(fixed)) {
			return
		}
		if match(pattern[len(fixed):], n.normal[len(fixed):]) {
			do(n.name)
		}
	}
}

// builtinAlias looks for an alias of what is built in, in the file that the
// kernel's build leaves for that: "MODULE.alias=PATTERN", each ended by a zero.
func (t *Tree) builtinAlias(name string) ([]string, error) {
	text, err := t.text("modules.builtin.modinfo")
	if err != nil {
		return nil, err
	}
	found, wanted := map[string][]string{}, sorted([]string{name})
	for entry := range bytes.SplitSeq(text, []byte{0}) {
		module, pattern, isAlias := bytes.Cut(entry, []byte(".alias="))
		if isAlias {
			wanted.match(pattern, func(string) { add(found, name, module) })
		}
	}
	return found[name], nil
}

// Step is a file to load.
type Step struct {
	Module, File string
	// Soft is set if what comes after works without this one as well.
	Soft bool
}

// Plan returns what has to be loaded for a module, in this order, its soft
// dependencies included. It is empty for a module that is built in.
func (t *Tree) Plan(module string) ([]Step, error) {
	p := plan{tree: t, seen: map[string]bool{}}
	err := p.add(Normalize(module), false)
	return p.steps, err
}

type plan struct {
	tree  *Tree
	seen  map[string]bool // soft dependencies can go round in circles
	steps []Step
}

func (p *plan) add(module string, soft bool) error {
	line, err := p.tree.dependencies(module)
	if err != nil {
		return err
	}
	file, needs, _ := strings.Cut(string(line), ":")
	files := append([]string{file}, strings.Fields(needs)...)
	for _, file := range slices.Backward(files) {
		if file != "" {
			if err := p.addFile(file, soft); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *plan) addFile(file string, soft bool) error {
	module := ModuleName(file)
	if p.seen[module] {
		return nil
	}
	p.seen[module] = true
	before, after, err := p.tree.soft(module)
	if err != nil {
		return err
	}
	if err := p.addSoft(before); err != nil {
		return err
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(p.tree.dir, file)
	}
	p.steps = append(p.steps, Step{module, file, soft})
	return p.addSoft(after)
}

func (p *plan) addSoft(names []string) error {
	for _, name := range names {
		modules, err := p.tree.Resolve(name)
		if err != nil {
			return err
		}
		for _, m := range modules {
			if err := p.add(m, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// soft returns what modules.softdep wants to have loaded before and after a
// module, if it is there: "softdep sctp pre: crypto-hmac post: b".
func (t *Tree) soft(module string) (before, after []string, err error) {
	text, err := t.text("modules.softdep")
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		if len(words) < 3 || words[0] != "softdep" || Normalize(words[1]) != module {
			continue
		}
		var to *[]string
		for _, word := range words[2:] {
			switch {
			case word == "pre:":
				to = &before
			case word == "post:":
				to = &after
			case to != nil:
				*to = append(*to, word)
			}
		}
	}
	return before, after, err
}
