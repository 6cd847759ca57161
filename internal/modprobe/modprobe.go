// Package modprobe finds and loads kernel modules. It reads what depmod(8)
// wrote about a kernel's modules (Tree), loads one with finit_module(2) and
// says in words why that did not work (Insert), and is modprobe(8) for the
// kernel (kernel.modprobe) and for CSI drivers and CNI plugins (Command).
//
// It leaves out compressed modules and modprobe.d. Parameters come from the
// arguments and from the kernel command line (MODULE.PARAM=VALUE).
package modprobe

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"kios/internal/cmdline"

	"golang.org/x/sys/unix"
)

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
	release, err := Release()
	if err != nil {
		return err
	}
	tree := Open(Dir(release))
	var errs []error
	for _, name := range r.modules {
		errs = append(errs, r.one(tree, name, stdout))
	}
	return errors.Join(errs...)
}

func (r *request) one(tree *Tree, name string, stdout io.Writer) error {
	if r.remove {
		return r.unload(name, stdout)
	}
	// Without a tree, or for what it does not name, the kernel still says what
	// it has.
	if Present("/sys", name) {
		return nil
	}
	modules, err := tree.Resolve(name)
	if err != nil {
		return fmt.Errorf("module %s not found: this kernel has it neither built in nor in /lib/modules (%w)", name, err)
	}
	if len(modules) == 0 {
		return fmt.Errorf("module %s not found in %s", name, tree.dir)
	}
	for _, module := range modules {
		if err := r.load(tree, module, stdout); err != nil {
			return err
		}
	}
	return nil
}

func (r *request) load(tree *Tree, module string, stdout io.Writer) error {
	steps, err := tree.Plan(module)
	if err != nil || len(steps) == 0 {
		return err
	}
	words := BootParams()
	for _, step := range steps {
		params := Params(words, step.Module)
		if step.Module == module {
			params = append(params, r.params...)
		}
		if err := r.step(step, params, stdout); err != nil && !step.Soft {
			return err
		}
	}
	return nil
}

func (r *request) step(step Step, params []string, stdout io.Writer) error {
	if Present("/sys", step.Module) {
		return nil
	}
	if r.verbose || r.dry {
		fmt.Fprintln(stdout, strings.TrimSpace("insmod "+step.File+" "+strings.Join(params, " ")))
	}
	if r.dry {
		return nil
	}
	_, err := Insert(step.File, params)
	return err
}

func (r *request) unload(name string, stdout io.Writer) error {
	if r.verbose || r.dry {
		fmt.Fprintln(stdout, "rmmod "+name)
	}
	if r.dry {
		return nil
	}
	if err := unix.DeleteModule(Normalize(name), unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("remove module %s: %w", name, err)
	}
	return nil
}

// Params returns what words, those of the kernel command line, say for a
// module, as finit_module(2) takes it.
func Params(words cmdline.Params, module string) []string {
	var params []string
	for _, p := range words {
		prefix, name, found := strings.Cut(p.Key, ".")
		if !found || !cmdline.Same(prefix, module) {
			continue
		}
		if p.HasValue {
			name += "=" + Quote(p.Value)
		}
		params = append(params, name)
	}
	return params
}

// Quote protects white space in a parameter's value from the kernel, which
// knows no way to protect a double quote.
func Quote(value string) string {
	if strings.ContainsAny(value, " \t\n\r") {
		return `"` + value + `"`
	}
	return value
}
