package userconfig

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"

	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
)

// checkSections decodes the section of each plugin as containerd will, which exits on the
// first that does not decode. What a plugin does not accept is set back.
func (c *checker) checkSections() {
	for i := range c.plugins {
		if c.plugins[i].Config != nil {
			c.checkSection(&c.plugins[i])
		}
	}
	c.checkPluginNames()
	c.checkRuncOptions()
}

func (c *checker) checkSection(r *plugin.Registration) {
	uri := r.URI()
	all, _ := lookup(c.merged, "plugins")
	sections, _ := all.(tree)
	value, ok := sections[uri]
	if !ok {
		return
	}
	base := tree{}
	if v, ok := lookup(c.node, "plugins", uri); ok {
		base, _ = v.(tree)
	}
	section, ok := value.(tree)
	if !ok {
		c.say([]string{"plugins", uri}, value, "it is not a table")
		sections[uri] = base
		return
	}
	kept, lost := grow(base, section, func(t tree) error { return c.accepts(r, t) })
	sections[uri] = kept
	for _, d := range lost {
		path := slices.Concat([]string{"plugins", uri}, d.path)
		c.sayDropped(c.whose(path), []dropped{{leaf{path, d.value}, d.err}})
	}
	c.checkSectionKeys(uri, r.Config, kept)
}

// accepts decodes a section, and lets CRI's runtime plugin look at its own: it is the one
// that checks most, and it needs no other.
func (c *checker) accepts(r *plugin.Registration, section tree) error {
	if r.URI() == criRuntime {
		section = c.withSpecs(section)
	}
	config := &srvconfig.Config{Plugins: map[string]any{r.URI(): section}}
	// A fresh value: decoding into the registered one would leave traces.
	fresh := reflect.New(reflect.TypeOf(r.Config).Elem()).Interface()
	decoded, err := config.Decode(c.ctx, r.URI(), fresh)
	if err != nil || r.URI() != criRuntime {
		return err
	}
	ic := plugin.NewContext(c.ctx, plugin.NewPluginSet(), map[string]string{
		plugins.PropertyRootDir:  filepath.Join(c.scratch, "root", r.URI()),
		plugins.PropertyStateDir: filepath.Join(c.scratch, "state", r.URI()),
	})
	ic.Config = decoded
	_, err = r.InitFn(ic)
	return err
}

// withSpecs returns the section of CRI's runtime with the base specs of its runtimes named
// where they are: below the directory that stands for /etc.
func (c *checker) withSpecs(section tree) tree {
	section = clone(section)
	for _, path := range expand(section, []string{"containerd", "runtimes", "*", "base_runtime_spec"}) {
		v, _ := lookup(section, path...)
		file, ok := v.(string)
		switch {
		case !ok:
		case c.exists(c.place(file)):
			put(section, c.place(file), path...)
		case c.Elsewhere && !within(file, "/etc"):
			remove(section, path...) // it is the node's, and not known here
		}
	}
	return section
}

// placeSpecs has containerd itself read base specs where the user's files are: in a trial
// that is not /etc.
func (c *checker) placeSpecs() {
	for _, path := range expand(c.merged, runtimes("base_runtime_spec")) {
		v, _ := lookup(c.merged, path...)
		if file, ok := v.(string); ok && !c.Elsewhere && c.exists(c.place(file)) {
			put(c.merged, c.place(file), path...)
		}
	}
}

// exists reports whether a file is there: on a node that was just installed, where the
// files are looked at elsewhere.
func (c *checker) exists(path string) bool {
	if c.Elsewhere && !within(path, c.Etc) {
		return slices.Contains(programs, path)
	}
	_, err := os.Stat(path)
	return err == nil
}

// programs are what runtimes are made of on each node.
var programs = []string{"/bin/runc", "/bin/containerd-shim-runc-v2"}
