package kernel

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"kios/host/arch"
)

// option is one requested setting, as Kconfig writes it: y, m, n, a number or
// a quoted string.
type option struct {
	name, value string
	where       string // file:line, for messages
}

var (
	setLine   = regexp.MustCompile(`^(CONFIG_[A-Za-z0-9_]+)=(y|m|n|-?[0-9]+|0x[0-9a-fA-F]+|".*")$`)
	unsetLine = regexp.MustCompile(`^# (CONFIG_[A-Za-z0-9_]+) is not set$`)
	// The second is the one such name without the word.
	erratumName = regexp.MustCompile(`_ERRATUM(_|$)|_SYNQUACER_PREITS$`)
)

// readFragments returns the options of all *.config files in dir and in its folder
// for the architecture, by name. The order of the files means nothing: an option that is
// requested with two values is an error.
func readFragments(dir string, a arch.Arch) ([]option, error) {
	var paths []string
	for _, dir := range []string{dir, filepath.Join(dir, a.Name)} {
		here, err := filepath.Glob(filepath.Join(dir, "*.config"))
		if err != nil {
			return nil, err
		}
		if len(here) == 0 {
			return nil, fmt.Errorf("no kernel configuration in %s (want files *.config)", dir)
		}
		paths = append(paths, here...)
	}
	return mergeFragments(paths)
}

func mergeFragments(paths []string) ([]option, error) {
	byName := map[string]option{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		opts, err := parseFragment(path, string(text))
		if err != nil {
			return nil, err
		}
		if err := addOptions(byName, opts); err != nil {
			return nil, err
		}
	}
	names := slices.Sorted(maps.Keys(byName))
	merged := make([]option, len(names))
	for i, n := range names {
		merged[i] = byName[n]
	}
	return merged, nil
}

func addOptions(byName map[string]option, opts []option) error {
	for _, o := range opts {
		if old, ok := byName[o.name]; ok && old.value != o.value {
			return fmt.Errorf("%s: %s=%s contradicts %s=%s of %s", o.where, o.name, o.value, old.name, old.value, old.where)
		}
		byName[o.name] = o
	}
	return nil
}

// parseFragment reads lines as Kconfig writes them. Anything that is neither a
// setting, a comment nor blank is an error: a typing mistake must not turn an
// option off silently.
func parseFragment(path, text string) ([]option, error) {
	var opts []option
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, " \t\r\n")
		where := fmt.Sprintf("%s:%d", path, n)
		if m := unsetLine.FindStringSubmatch(line); m != nil {
			opts = append(opts, option{m[1], "n", where})
		} else if m := setLine.FindStringSubmatch(line); m != nil {
			opts = append(opts, option{m[1], m[2], where})
		} else if strings.HasPrefix(line, "# CONFIG_") || line != "" && !strings.HasPrefix(line, "#") {
			return nil, fmt.Errorf("%s: %q is not a kernel option (want CONFIG_NAME=value or # CONFIG_NAME is not set)", where, line)
		}
	}
	return opts, nil
}

// render writes options the way Kconfig reads them.
func render(opts []option) string {
	var b strings.Builder
	for _, o := range opts {
		if o.value == "n" {
			fmt.Fprintf(&b, "# %s is not set\n", o.name)
		} else {
			fmt.Fprintf(&b, "%s=%s\n", o.name, o.value)
		}
	}
	return b.String()
}

// values returns the settings of a complete .config. Options that are off are
// not in it.
func values(config string) map[string]string {
	v := map[string]string{}
	for line := range strings.Lines(config) {
		line = strings.TrimSpace(line)
		if name, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, "CONFIG_") {
			v[name] = value
		}
	}
	return v
}

// verify returns an error that names every requested option which config does
// not have as requested, and every workaround for a defect of processors that is off
// without being named.
func verify(requested []option, config string) error {
	return errors.Join(verifyRequested(requested, config), verifyErrata(requested, config))
}

func verifyRequested(requested []option, config string) error {
	got := values(config)
	var missed []string
	for _, o := range requested {
		actual, ok := got[o.name]
		if !ok {
			actual = "n"
		}
		if actual != o.value {
			missed = append(missed, fmt.Sprintf("\n  %s: %s=%s became %s", o.where, o.name, o.value, actual))
		}
	}
	if missed == nil {
		return nil
	}
	return fmt.Errorf("%d kernel options did not take effect (a dependency is missing, another option selects them, or this kernel has no such option):%s",
		len(missed), strings.Join(missed, ""))
}

func verifyErrata(requested []option, config string) error {
	named := map[string]bool{}
	for _, o := range requested {
		named[o.name] = true
	}
	var missed []string
	for line := range strings.Lines(config) {
		m := unsetLine.FindStringSubmatch(strings.TrimSpace(line))
		if m != nil && erratumName.MatchString(m[1]) && !named[m[1]] {
			missed = append(missed, "\n  "+m[1])
		}
	}
	if missed == nil {
		return nil
	}
	return fmt.Errorf("workarounds for defects of processors are off because no fragment names them; name each in errata.config, with =y or as not set (%d):%s",
		len(missed), strings.Join(missed, ""))
}

// wantsBTF reports whether type information for eBPF is requested: it needs a
// tool more.
func wantsBTF(opts []option) bool {
	return slices.ContainsFunc(opts, func(o option) bool {
		return o.name == "CONFIG_DEBUG_INFO_BTF" && o.value == "y"
	})
}
