package userconfig

import (
	"bytes"
	"errors"
	"reflect"
	"slices"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	srvconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/pelletier/go-toml/v2"
)

const noSuchKey = "containerd has no such key"

// unknown returns the keys of t for which there is no place in what it decodes to. Those
// below another one are not named.
func unknown(t tree, into any) (keys []leaf) {
	text, err := toml.Marshal(t)
	if err != nil {
		return nil
	}
	err = toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(into)
	missing, ok := errors.AsType[*toml.StrictMissingError](err)
	if !ok {
		return nil
	}
	var last []string
	for i := range missing.Errors {
		path := []string(missing.Errors[i].Key())
		if last != nil && len(path) >= len(last) && slices.Equal(path[:len(last)], last) {
			continue
		}
		last = path
		value, found := lookup(t, path...)
		if !found {
			value = tree{"": path} // in a list
		}
		keys = append(keys, leaf{path, value})
	}
	return keys
}

// checkKeys names keys outside of plugins' sections that containerd does not know. They
// do not outlast the loading of a file.
func (c *checker) checkKeys(file string, t tree) {
	for _, l := range unknown(t, &srvconfig.Config{}) {
		c.sayUnused(file, l, noSuchKey)
	}
}

// checkSectionKeys does it for a section.
func (c *checker) checkSectionKeys(uri string, config any, section tree) {
	for _, l := range unknown(section, reflect.New(reflect.TypeOf(config).Elem()).Interface()) {
		l.path = in(uri, l.path...)
		c.sayUnused(c.whose(l.path), l, noSuchKey)
	}
}

// checkRuncOptions does it for what runc's shim is told. Other shims get their options as
// they are.
func (c *checker) checkRuncOptions() {
	for _, path := range expand(c.merged, runtimes("options")) {
		value, _ := lookup(c.merged, path...)
		options, ok := value.(tree)
		if !ok || !c.isRunc(path) {
			continue
		}
		for _, l := range unknown(options, &runcoptions.Options{}) {
			l.path = slices.Concat(path, l.path)
			c.sayUnused(c.whose(l.path), l, "runc's shim has no such option")
		}
	}
}

// others are sections that a whole default configuration of some version has with values,
// of plugins that a node does without.
var others = []string{
	"io.containerd.differ.v1.erofs",
	"io.containerd.internal.v1.opt",
	"io.containerd.internal.v1.restart",
	"io.containerd.internal.v1.tracing",
	"io.containerd.runtime.v1.linux",
	"io.containerd.snapshotter.v1.blockfile",
	"io.containerd.snapshotter.v1.erofs",
	"io.containerd.tracing.processor.v1.otlp",
}

// checkPluginNames names sections of plugins that are not there.
func (c *checker) checkPluginNames() {
	all, _ := lookup(c.merged, "plugins")
	sections, _ := all.(tree)
	for _, l := range leafTables(sections) {
		if uri := l.path[1]; !c.registered(uri) && !slices.Contains(others, uri) {
			c.sayUnused(c.whose(l.path), l, "this containerd has no such plugin")
		}
	}
}

// leafTables lists sections as leaves, sorted by name.
func leafTables(sections tree) (out []leaf) {
	for _, path := range expand(tree{"plugins": sections}, []string{"plugins", "*"}) {
		out = append(out, leaf{path, sections[path[1]]})
	}
	return out
}
