// Package modprobe loads and removes kernel modules, as modprobe(8) does, when
// the kernel asks for one (kernel.modprobe) or a CSI driver or CNI plugin in a
// pod does. The files are those that depmod(8) writes: modules.dep,
// modules.alias and modules.builtin.
//
// It leaves out compressed modules, soft dependencies and modprobe.d.
// Parameters come from the arguments and from the kernel command line
// (MODULE.PARAM=VALUE).
package modprobe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/cmdline"

	"golang.org/x/sys/unix"
)

// Index is what depmod wrote about the modules of one kernel.
type Index struct {
	dir     string              // /lib/modules/RELEASE
	depends map[string][]string // module to its file and those of what it needs
	builtin map[string]bool
	aliases []alias
}

type alias struct{ pattern, module string }

// Load reads the index in dir. Only modules.dep must be there.
func Load(dir string) (*Index, error) {
	x := &Index{dir: dir, depends: map[string][]string{}, builtin: map[string]bool{}}
	if err := eachLine(filepath.Join(dir, "modules.dep"), x.addDepends); err != nil {
		return nil, err
	}
	for file, add := range map[string]func(string){"modules.alias": x.addAlias, "modules.builtin": x.addBuiltin} {
		if err := eachLine(filepath.Join(dir, file), add); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return x, nil
}

func eachLine(file string, do func(string)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		do(lines.Text())
	}
	return lines.Err()
}

// addDepends takes "kernel/net/a.ko: kernel/net/b.ko kernel/lib/c.ko".
func (x *Index) addDepends(line string) {
	file, needs, found := strings.Cut(line, ":")
	if found {
		x.depends[moduleName(file)] = append([]string{file}, strings.Fields(needs)...)
	}
}

// addAlias takes "alias pci:v00008086d*sv*sd*bc*sc*i* e1000e".
func (x *Index) addAlias(line string) {
	if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" {
		x.aliases = append(x.aliases, alias{normalize(f[1]), normalize(f[2])})
	}
}

func (x *Index) addBuiltin(line string) { x.builtin[moduleName(line)] = true }

// moduleName turns a file's path into the module's name.
func moduleName(file string) string {
	base := path.Base(strings.TrimSpace(file))
	name, _, _ := strings.Cut(base, ".ko")
	return normalize(name)
}

// normalize makes - and _ one, as in the kernel, except between the brackets
// of a pattern, where - means a range. A slash becomes a byte that path.Match
// takes for an ordinary one.
func normalize(name string) string {
	depth := 0
	return strings.Map(func(r rune) rune {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == '-' && depth == 0:
			return '_'
		case r == '/':
			return '\x01'
		}
		return r
	}, name)
}

// Resolve returns the modules that a name or an alias stands for.
func (x *Index) Resolve(name string) []string {
	name = normalize(name)
	if x.depends[name] != nil || x.builtin[name] {
		return []string{name}
	}
	var modules []string
	for _, a := range x.aliases {
		if ok, _ := path.Match(a.pattern, name); ok && !slices.Contains(modules, a.module) {
			modules = append(modules, a.module)
		}
	}
	return modules
}

// Files returns what has to be loaded for a module, in that order: what others
// need comes first, the module's own file last. It is empty for a module that
// is built in.
func (x *Index) Files(module string) []string {
	files := slices.Clone(x.depends[module])
	slices.Reverse(files)
	return files
}

// Command is modprobe(8): it does as args, without the program's name, ask for
// and returns the exit code.
func Command(args []string, stdout, stderr io.Writer) int {
	req, err := parseArgs(args)
	if err != nil {
		fmt.Fprintf(stderr, "modprobe: %v\nusage: modprobe [-q] [-v] [-n] [-a] [-r] MODULE [PARAM=VALUE]...\n", err)
		return 1
	}
	if req.version {
		fmt.Fprintln(stdout, "modprobe from kiOS (without modprobe.d and compressed modules)")
		return 0
	}
	if err := req.run(stdout); err != nil {
		if !req.quiet {
			fmt.Fprintf(stderr, "modprobe: %v\n", err)
		}
		return 1
	}
	return 0
}

type request struct {
	quiet, verbose, dry, remove, version bool
	modules                              []string
	params                               []string
}

func parseArgs(args []string) (*request, error) {
	req, all, names := &request{}, false, []string(nil)
	for i, arg := range args {
		if arg == "--" {
			names = append(names, args[i+1:]...)
			break
		}
		if !strings.HasPrefix(arg, "-") {
			names = append(names, arg)
			continue
		}
		if err := req.flag(arg, &all); err != nil {
			return nil, err
		}
	}
	if req.version {
		return req, nil
	}
	if len(names) == 0 {
		return nil, errors.New("no module given")
	}
	req.modules = names
	if !all && !req.remove {
		req.modules, req.params = names[:1], names[1:]
	}
	return req, nil
}

func (r *request) flag(arg string, all *bool) error {
	if len(arg) > 2 && arg[1] != '-' {
		for _, letter := range arg[1:] {
			if err := r.flag("-"+string(letter), all); err != nil {
				return err
			}
		}
		return nil
	}
	switch arg {
	case "-q", "--quiet", "--silent":
		r.quiet = true
	case "-v", "--verbose":
		r.verbose = true
	case "-n", "--dry-run", "--show":
		r.dry = true
	case "-a", "--all":
		*all = true
	case "-r", "--remove":
		r.remove = true
	case "-V", "--version":
		r.version = true
	case "-b", "--use-blacklist", "-s", "--syslog", "-i", "--ignore-install", "--ignore-remove", "--first-time":
	default:
		return fmt.Errorf("unknown flag %s", arg)
	}
	return nil
}

// run handles each module and returns the errors of all that failed.
func (r *request) run(stdout io.Writer) error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	release := unix.ByteSliceToString(uts.Release[:])
	index, loadErr := Load(filepath.Join("/lib/modules", release))
	var errs []error
	for _, name := range r.modules {
		errs = append(errs, r.one(index, loadErr, name, stdout))
	}
	return errors.Join(errs...)
}

func (r *request) one(index *Index, loadErr error, name string, stdout io.Writer) error {
	if r.remove {
		return r.unload(name, stdout)
	}
	// Without an index, or for what it does not name, the kernel still says
	// what it has.
	if present(name) {
		return nil
	}
	if loadErr != nil {
		return fmt.Errorf("module %s not found: this kernel has it neither built in nor in /lib/modules (%w)", name, loadErr)
	}
	modules := index.Resolve(name)
	if len(modules) == 0 {
		return fmt.Errorf("module %s not found in %s", name, index.dir)
	}
	for _, module := range modules {
		if err := r.load(index, module, stdout); err != nil {
			return err
		}
	}
	return nil
}

// present reports whether a module is loaded, or built in and visible.
func present(name string) bool {
	_, err := os.Stat(filepath.Join("/sys/module", filepath.Base(normalize(name))))
	return err == nil
}

func (r *request) load(index *Index, module string, stdout io.Writer) error {
	files := index.Files(module)
	for i, file := range files {
		if !filepath.IsAbs(file) {
			file = filepath.Join(index.dir, file)
		}
		params := bootParams(moduleName(file))
		if i == len(files)-1 {
			params = append(params, r.params...)
		}
		if r.verbose || r.dry {
			fmt.Fprintln(stdout, strings.TrimSpace("insmod "+file+" "+strings.Join(params, " ")))
		}
		if r.dry {
			continue
		}
		if err := insert(file, strings.Join(params, " ")); err != nil {
			return err
		}
	}
	return nil
}

// bootParams returns what the kernel command line says for a module.
func bootParams(module string) []string {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil
	}
	return paramsFor(module, cmdline.Parse(string(line)))
}

func paramsFor(module string, words cmdline.Params) []string {
	var params []string
	for _, p := range words {
		prefix, name, found := strings.Cut(p.Key, ".")
		if !found || !cmdline.Same(prefix, module) {
			continue
		}
		if p.HasValue {
			name += "=" + p.Value
		}
		params = append(params, name)
	}
	return params
}

func insert(file, params string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), params, 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", file, err)
	}
	return nil
}

func (r *request) unload(name string, stdout io.Writer) error {
	if r.verbose || r.dry {
		fmt.Fprintln(stdout, "rmmod "+name)
	}
	if r.dry {
		return nil
	}
	if err := unix.DeleteModule(normalize(name), unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("remove module %s: %w", name, err)
	}
	return nil
}
