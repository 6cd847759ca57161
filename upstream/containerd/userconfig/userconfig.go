// Package userconfig makes of a user's configuration of containerd one with which this
// node can start pods. Files of other distributions, and the output of "containerd config
// default", are valid here: what cannot be true on the node is set back to the node's own
// value, with a line that says so (rules.go), and a value that containerd does not accept
// costs only itself. Files are read, migrated and merged by containerd's own loader.
//
// Whatever this package does not foresee ends containerd, or the start of its CRI plugin:
// package main and PID 1 deal with that.
package userconfig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/version"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/pelletier/go-toml/v2"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"kios/upstream/containerd/regular"
)

// Main is the user's file, below a directory that is laid out as /etc is.
const Main = "containerd/config.toml"

// Source says which files there are.
type Source struct {
	// Node is the node's own configuration.
	Node string
	// Etc is a directory that is laid out as /etc is, usually /etc itself.
	Etc string
	// Elsewhere is set where the files are only checked, on another machine than the
	// node: then nothing below Etc alone counts as being there.
	Elsewhere bool
}

// Result is a configuration to start with, and what is to be said about it.
type Result struct {
	// Config is nil if the user has no configuration, or none that can be used.
	Config []byte
	// Lines name what was left out, and why, each with its file, as it is called on a
	// node.
	Lines []string
}

// userFile is one of the user's files, in containerd's current version of the format.
type userFile struct {
	path string
	tree tree
}

// checker is what one run of Load knows.
type checker struct {
	Source
	ctx     context.Context
	plugins []plugin.Registration
	scratch string // a directory for files that the loader reads
	spent   spent

	node   tree // the node's own configuration
	user   []userFile
	merged tree // the user's files over it
	lines  []string
	unused int // keys that containerd does not know
}

// Load reads the user's configuration and lays what can be used of it over the node's.
func (s Source) Load(ctx context.Context) (*Result, error) {
	// The loader logs what it also returns, and containerd loads again.
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	scratch, err := os.MkdirTemp("", "containerd-config-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	c := &checker{
		Source:  s,
		ctx:     log.WithLogger(ctx, logrus.NewEntry(quiet)),
		plugins: registry.Graph(nil),
		scratch: scratch,
	}
	result, err := c.load()
	if err != nil {
		return nil, err
	}
	for i, line := range result.Lines {
		result.Lines[i] = strings.ReplaceAll(line, strings.TrimSuffix(c.Etc, "/")+"/", "/etc/")
	}
	return result, nil
}

func (c *checker) load() (*Result, error) {
	var err error
	if c.node, err = c.loadFile(c.Node); err != nil {
		return nil, fmt.Errorf("load %s: %w", c.Node, err)
	}
	c.readFiles()
	if len(c.user) == 0 {
		return &Result{Lines: c.lines}, nil
	}
	if err := c.merge(); err != nil {
		c.ignore(c.user[0].path, err)
		return &Result{Lines: c.lines}, nil
	}
	c.applyRules()
	c.checkSections()
	c.sayMoreUnused()
	c.placeSpecs()
	text, err := toml.Marshal(c.merged)
	if err != nil {
		return nil, err
	}
	if _, err := c.loadText(text); err != nil {
		c.ignore(c.user[0].path, err)
		text = nil
	}
	return &Result{Config: text, Lines: c.lines}, nil
}

// ignore says that a whole file is not used.
func (c *checker) ignore(path string, err error) {
	c.lines = append(c.lines, fmt.Sprintf("ignoring %s: %s: using defaults", path, oneLine(err)))
}

// say says that a value of the user is not used.
func (c *checker) say(path []string, value any, reason string) {
	c.sayOf(c.whose(path), path, value, reason)
}

// sayOf is say of the value in a file.
func (c *checker) sayOf(file string, path []string, value any, reason string) {
	what := name(path)
	if _, isTable := value.(tree); !isTable {
		what += " = " + short(value)
	}
	c.lines = append(c.lines, fmt.Sprintf("%s: %s is not used: %s", file, what, reason))
}

// whose returns the file that has the last word about path.
func (c *checker) whose(path []string) string {
	for _, f := range slices.Backward(c.user) {
		if v, ok := lookup(f.tree, path...); ok && !(len(path) <= 2 && isZero(v)) {
			return f.path
		}
	}
	return c.user[0].path
}

// maxReason bounds a reason, in bytes.
const maxReason = 400

func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > maxReason {
		text = text[:maxReason] + "..."
	}
	return text
}

// short is a value in a message. Long ones may be anything, keys of registries included.
func short(v any) string {
	text := fmt.Sprintf("%v", v)
	if s, ok := v.(string); ok {
		text = fmt.Sprintf("%q", s)
	}
	if len(text) > 80 {
		text = text[:77] + "..."
	}
	return text
}

// readFiles reads the user's file and what it imports, in containerd's order.
func (c *checker) readFiles() {
	main := filepath.Join(c.Etc, Main)
	if _, err := os.Stat(main); errors.Is(err, os.ErrNotExist) {
		return
	}
	seen := map[string]bool{}
	for pending := []string{main}; len(pending) > 0; pending = pending[1:] {
		path := pending[0]
		if seen[path] {
			continue
		}
		if seen[path] = true; len(seen) > maxFiles {
			c.ignore(path, fmt.Errorf("more than %d files are imported", maxFiles))
			return
		}
		imports, err := c.readFile(path)
		if err != nil {
			c.ignore(path, err)
			continue
		}
		pending = append(pending, c.resolve(path, imports)...)
	}
}

// readFile reads one file, and leaves out what containerd does not accept.
func (c *checker) readFile(path string) (imports []string, err error) {
	text, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	if err := c.spent.admit(text); err != nil {
		return nil, err
	}
	var t tree
	if err := toml.Unmarshal(text, &t); err != nil {
		return nil, position(err)
	}
	var head struct {
		Imports []string `toml:"imports"`
	}
	if err := toml.Unmarshal(text, &head); err != nil {
		c.lines = append(c.lines, fmt.Sprintf("%s: imports is not used: %s", path, oneLine(err)))
	}
	delete(t, "imports")
	base := tree{}
	if v, ok := t["version"]; ok {
		if n, isInt := v.(int64); isInt && n < 0 {
			return nil, fmt.Errorf("there is no version %d: write the one that the file is in, from 1 to %d", n, version.ConfigVersion)
		}
		base["version"] = v
	}
	if _, err := c.loadTree(base); err != nil {
		return nil, err
	}
	keepSnapshots(t)
	kept, lost := grow(base, t, func(t tree) error { _, err := c.loadTree(t); return err })
	migrated, err := c.loadTree(kept)
	if err != nil {
		return nil, err
	}
	c.user = append(c.user, userFile{path, migrated})
	c.sayDropped(path, lost)
	c.checkKeys(path, kept)
	c.checkMigration(path, kept, migrated)
	return head.Imports, nil
}

func (c *checker) sayDropped(path string, lost []dropped) {
	for _, d := range lost {
		what := name(d.path)
		if what == "" {
			what = "the file"
		}
		c.lines = append(c.lines, fmt.Sprintf("%s: %s is not used: %s", path, what, oneLine(d.err)))
	}
}

// readBounded reads a regular file of bounded size.
func readBounded(path string) ([]byte, error) {
	f, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("it has more than %d bytes: at most these are read", maxFile)
	}
	return text, err
}

// position adds to an error where in the file it is.
func position(err error) error {
	if d, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, column := d.Position()
		return fmt.Errorf("row %d, column %d: %w", row, column, err)
	}
	return err
}

// resolve returns the files that a file imports, as containerd does. What is imported
// from /etc is looked for in the directory that stands for it.
func (c *checker) resolve(parent string, imports []string) []string {
	var out []string
	for _, path := range imports {
		if path == "" {
			continue
		}
		if c.spent.imports++; c.spent.imports > maxFiles {
			c.lines = append(c.lines, fmt.Sprintf("%s: the import %s is not used, nor what follows it: there are more than %d: use a pattern", parent, short(path), maxFiles))
			return out
		}
		path = c.place(filepath.Clean(path))
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(parent), path)
		}
		if len(path) >= unix.PathMax {
			c.lines = append(c.lines, fmt.Sprintf("%s: the import %s is not used: it is longer than a path can be", parent, short(path)))
			continue
		}
		if c.Elsewhere && !within(path, c.Etc) {
			continue // it is the node's, and not known here
		}
		if !strings.Contains(path, "*") {
			out = append(out, path)
			continue
		}
		if wildDirs(path) >= maxWild {
			c.lines = append(c.lines, fmt.Sprintf("%s: the import %s is not used: looking for it takes long: name its directory, with a pattern for at most one part of it", parent, short(path)))
			continue
		}
		matches, err := filepath.Glob(path)
		if err != nil {
			c.lines = append(c.lines, fmt.Sprintf("%s: the import %s is not used: %s", parent, short(path), oneLine(err)))
		}
		out = append(out, matches...)
	}
	return out
}

// place returns where a file of /etc is.
func (c *checker) place(path string) string {
	if rest, ok := strings.CutPrefix(path, "/etc/"); ok {
		return filepath.Join(c.Etc, rest)
	}
	return path
}

func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// merge lays the user's files over the node's.
func (c *checker) merge() error {
	paths := []string{c.scratch + "/node.toml"}
	trees := []tree{c.node}
	for i, f := range c.user {
		paths = append(paths, fmt.Sprintf("%s/user%d.toml", c.scratch, i))
		trees = append(trees, f.tree)
	}
	for i, t := range trees {
		if err := writeTree(paths[i], t); err != nil {
			return err
		}
	}
	all := filepath.Join(c.scratch, "all.toml")
	if err := writeTree(all, tree{"version": version.ConfigVersion, "imports": paths}); err != nil {
		return err
	}
	var err error
	if c.merged, err = c.loadFile(all); err == nil {
		delete(c.merged, "imports")
	}
	return err
}

func writeTree(path string, t tree) error {
	text, err := toml.Marshal(t)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

func (c *checker) loadTree(t tree) (tree, error) {
	text, err := toml.Marshal(t)
	if err != nil {
		return nil, err
	}
	return c.loadText(text)
}

func (c *checker) loadText(text []byte) (tree, error) {
	path := filepath.Join(c.scratch, "one.toml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, err
	}
	return c.loadFile(path)
}

// loadFile loads a configuration as containerd will, and returns it in the current
// version of the format.
func (c *checker) loadFile(path string) (t tree, err error) {
	defer func() {
		// Migrations of older versions take the types of sections for granted.
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	config := &srvconfig.Config{Version: version.ConfigVersion}
	plugins := func() iter.Seq[plugin.Registration] { return slices.Values(c.plugins) }
	if err := srvconfig.LoadConfigWithPlugins(c.ctx, path, plugins, config); err != nil {
		return nil, c.withoutScratch(err)
	}
	return asTree(config)
}

// withoutScratch takes the path of a file that the user has not written off an error.
func (c *checker) withoutScratch(err error) error {
	text, ours := strings.CutPrefix(err.Error(), "failed to load TOML from "+c.scratch)
	if !ours {
		return err
	}
	_, text, _ = strings.Cut(text, ": ")
	return errors.New(text)
}

// asTree returns a configuration without what containerd itself keeps no more.
func asTree(config *srvconfig.Config) (tree, error) {
	config.Imports = nil
	text, err := toml.Marshal(config)
	if err != nil {
		return nil, err
	}
	var t tree
	err = toml.Unmarshal(text, &t)
	return t, err
}
