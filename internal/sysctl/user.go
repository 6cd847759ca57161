package sysctl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kios/internal/userfile"
)

// UserDir is where users put their settings.
const UserDir = "/etc/sysctl.d"

// Bounds of what is read.
const (
	maxFiles = 100
	maxFile  = 64 << 10
	maxValue = 4 << 10
)

// Line is a setting of a user.
type Line struct {
	Key, Value string // Key with dots, as in Setting
	File       string // that it is from
	Optional   bool   // it does not matter if it cannot be set

	path string // below /proc/sys; * and ? and [] are wildcards
}

// Read returns the settings of the files NAME.conf in a directory, in the order of
// these names, and what is wrong with those that are left out. Of several lines for
// the same parameter the last counts.
func Read(dir string) (lines []Line, errs []error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, []error{fmt.Errorf("%s is left out: it is no directory: put files NAME.conf into one", dir)}
	}
	paths, _ := filepath.Glob(filepath.Join(dir, "*.conf")) // sorted; the pattern is good
	if len(paths) > maxFiles {
		errs = append(errs, fmt.Errorf("%s has more than %d files: the others are left out", dir, maxFiles))
		paths = paths[:maxFiles]
	}
	for _, path := range paths {
		text, err := readFile(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s is left out: %w", path, userfile.Reason(err)))
			continue
		}
		more, bad := parse(path, text)
		lines, errs = append(lines, more...), append(errs, bad...)
	}
	return lastOfEach(lines), errs
}

// readFile reads a file of the user. A link to /dev/null is how a file is left out by
// convention.
func readFile(path string) (string, error) {
	if info, err := os.Stat(path); err == nil && userfile.IsNull(info) {
		return "", nil
	}
	text, err := userfile.Read(path, maxFile)
	return string(text), err
}

// parse reads the lines KEY=VALUE of a file. "#" and ";" begin a comment.
func parse(file, text string) (lines []Line, errs []error) {
	for row := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) { // some editors put that first
		row = strings.TrimSpace(row)
		if row == "" || row[0] == '#' || row[0] == ';' {
			continue
		}
		l, err := parseLine(row)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %.100q %w", file, row, err))
			continue
		}
		l.File = file
		lines = append(lines, l)
	}
	return lines, errs
}

func parseLine(row string) (Line, error) {
	row, optional := strings.CutPrefix(row, "-")
	key, value, found := strings.Cut(row, "=")
	if !found && !optional {
		return Line{}, errors.New("is not PARAMETER=VALUE")
	}
	l := Line{Value: strings.TrimSpace(value), Optional: optional, path: pathOf(strings.TrimSpace(key))}
	if !filepath.IsLocal(l.path) || filepath.Clean(l.path) != l.path {
		return Line{}, errors.New("names no parameter")
	}
	if len(l.Value) > maxValue {
		return Line{}, fmt.Errorf("has a value of more than %d KiB", maxValue>>10)
	}
	if !found {
		l.Value = untouched
	}
	l.Key = swap(l.path)
	return l, nil
}

// untouched is the value of a line "-PARAMETER", which takes the parameter out of
// patterns. No value has a NUL.
const untouched = "\x00"

// pathOf turns the name of a parameter into a path. Its first separator says whether
// it has slashes, or dots in their place and slashes in place of dots.
func pathOf(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		return swap(key)
	}
	return key
}

func swap(s string) string { return strings.NewReplacer(".", "/", "/", ".").Replace(s) }

// lastOfEach leaves one line for each parameter. A pattern does not touch what has a
// line of its own, so it comes before.
func lastOfEach(lines []Line) []Line {
	last := map[string]int{}
	for i, l := range lines {
		last[l.Key] = i
	}
	var all []Line
	for i, l := range lines {
		if last[l.Key] == i {
			all = append(all, l)
		}
	}
	slices.SortStableFunc(all, func(a, b Line) int { return rank(a) - rank(b) })
	return all
}

func rank(l Line) int {
	if l.isPattern() {
		return 0
	}
	return 1
}

func (l Line) isPattern() bool { return strings.ContainsAny(l.path, "*?[") }

// ApplyUser sets what the user's lines say, unless a rule refuses it, and returns an
// error for each that is not as the user wants it.
func ApplyUser(root string, lines []Line, rules Rules) (errs []error) {
	own := map[string]bool{}
	for _, l := range lines {
		own[l.path] = !l.isPattern()
	}
	for _, l := range lines {
		if l.Value == untouched {
			continue
		}
		for _, path := range l.paths(root, own) {
			if err := l.set(root, path, rules); err != nil && !l.Optional {
				errs = append(errs, l.notSet(path, err))
			}
		}
	}
	return errs
}

func (l Line) notSet(path string, err error) error {
	return fmt.Errorf("%s: %s is not set to %.100q: %w", l.File, swap(path), l.Value, err)
}

// Refused returns the errors of ApplyUser that are known without the node: what the rules
// refuse, in lines without wildcards.
func Refused(lines []Line, rules Rules) (errs []error) {
	for _, l := range lines {
		if l.isPattern() || l.Optional || l.Value == untouched {
			continue
		}
		if err := rules.check(l.Key, l.Value); err != nil {
			errs = append(errs, l.notSet(l.path, err))
		}
	}
	return errs
}

// paths returns the parameters that a line is for, without those that have a line of
// their own.
func (l Line) paths(root string, own map[string]bool) []string {
	if !l.isPattern() {
		return []string{l.path}
	}
	found, _ := filepath.Glob(filepath.Join(root, l.path)) // nothing for a bad pattern
	var paths []string
	for _, file := range found {
		if path, err := filepath.Rel(root, file); err == nil && !own[path] {
			paths = append(paths, path)
		}
	}
	return paths
}

func (l Line) set(root, path string, rules Rules) error {
	if err := rules.check(swap(path), l.Value); err != nil {
		return err
	}
	err := set(filepath.Join(root, path), l.Value)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("there is no such parameter (those of network interfaces and modules that come later cannot be set here)")
	}
	return userfile.Reason(err)
}
