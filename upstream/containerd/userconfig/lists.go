package userconfig

import (
	"fmt"
	"slices"
	"strings"
)

// checkLists looks at lists entry by entry.
func (c *checker) checkLists() {
	c.filter([]string{"disabled_plugins"}, func(v any) bool { return !c.needed(v) }, "pods do not start without it")
	c.filter([]string{"required_plugins"}, func(v any) bool { uri, _ := v.(string); return c.registered(uri) }, "this containerd has no such plugin, and would not start")
	c.filter(in(differs, "default"), c.isDiffer, "this containerd has no such differ")
	c.filter(in(transfer, "unpack_config"), c.unpacks, "this containerd has no such snapshotter, differ or platform")
	c.filter(in(shims, "env"), c.isShimEnv, "programs of runtimes are in "+Path+", and shims do not report to init")
	c.extend(in(shims, "env"))
	c.extend(in(criRuntime, "cni", "bin_dirs"))
	// Without these, the shim does not see which pods may share one: each has its own.
	c.extend(in(criRuntime, "containerd", "runtimes", "runc", "pod_annotations"))
}

// filter removes the entries that ok does not accept from a list. What is left of it when
// none is, is the node's.
func (c *checker) filter(path []string, ok func(any) bool, reason string) {
	value, _ := lookup(c.merged, path...)
	list, _ := value.([]any)
	var kept []any
	for _, v := range list {
		if ok(v) {
			kept = append(kept, v)
			continue
		}
		c.say(path, describe(v), reason)
	}
	switch {
	case len(kept) == len(list):
	case len(kept) > 0:
		put(c.merged, kept, path...)
	default:
		c.setBack(path)
	}
}

// describe makes text of an entry that is a table.
func describe(v any) any {
	if t, ok := v.(tree); ok {
		return strings.TrimPrefix(fmt.Sprintf("%v", t), "map")
	}
	return v
}

// isShimEnv accepts variables of shims that the node does not set itself.
func (c *checker) isShimEnv(v any) bool {
	own, _ := lookup(c.node, in(shims, "env")...)
	if nodes, _ := own.([]any); slices.Contains(nodes, v) {
		return true
	}
	text, _ := v.(string)
	return !strings.HasPrefix(text, "PATH=") && !strings.HasPrefix(text, "NOTIFY_SOCKET=")
}

// extend makes a list of the user hold what the node's has.
func (c *checker) extend(path []string) {
	value, _ := lookup(c.merged, path...)
	own, _ := lookup(c.node, path...)
	list, _ := value.([]any)
	nodes, _ := own.([]any)
	for _, v := range nodes {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	if len(list) > 0 {
		put(c.merged, list, path...)
	}
}

// tellNRI names a file of defaults that switches NRI on. One that does so with that key
// alone has been written for it.
func (c *checker) tellNRI() {
	if off, _ := lookup(c.merged, in(nri, "disable")...); off != false {
		return
	}
	path := c.whose(in(nri, "disable"))
	for _, f := range c.user {
		section, _ := lookup(f.tree, in(nri)...)
		if t, _ := section.(tree); f.path == path && len(t) > 1 {
			c.lines = append(c.lines, path+": "+name(in(nri, "disable"))+" = false: NRI is on, and whoever can use its socket can do what root can: set it to true if you have no NRI plugins")
		}
	}
}

// tellCNI names a directory of CNI's that is not there, as in files of other distributions:
// the network of the node has its settings in the node's own. A pod may make the directory
// later, and so it is used.
func (c *checker) tellCNI() {
	path := in(criRuntime, "cni", "conf_dir")
	value, _ := lookup(c.merged, path...)
	if dir, _ := value.(string); dir != "" && !asNode(c, value, path) && !c.exists(c.place(dir)) {
		own, _ := lookup(c.node, path...)
		c.lines = append(c.lines, fmt.Sprintf("%s: %s = %s is not there yet, and %v is not used: pods have no network until a file is there", c.whose(path), name(path), short(dir), own))
	}
}

// optional are the plugins that a node can do without.
var optional = []string{verifier, nri}

// needed reports whether pods need a plugin. All that are built in are, with few
// exceptions: this containerd has no others.
func (c *checker) needed(v any) bool {
	uri, _ := v.(string)
	return c.registered(uri) && !slices.Contains(optional, uri)
}

func (c *checker) isDiffer(v any) bool {
	name, _ := v.(string)
	return c.has("io.containerd.differ.v1", "diff", name)
}

// unpacks accepts an entry of the transfer service whose plugins are there.
func (c *checker) unpacks(v any) bool {
	t, _ := v.(tree)
	differ, _ := t["differ"].(string)
	if !platform(c, t["platform"], nil) || t["platform"] == "" {
		return false // optional or not
	}
	return snapshotter(c, t["snapshotter"], nil) && (differ == "" || c.isDiffer(differ)) || t["optional"] == true
}

// checkRegistry lets the node's certs.d step back before registries that the user's file
// itself describes: containerd takes only one of the two ways.
func (c *checker) checkRegistry() {
	path := in(criImages, "registry", "config_path")
	mirrors, _ := lookup(c.merged, in(criImages, "registry", "mirrors")...)
	if isZero(mirrors) {
		return
	}
	for _, f := range c.user {
		if v, _ := lookup(f.tree, path...); !isZero(v) {
			c.say(in(criImages, "registry", "mirrors"), mirrors, "config_path is set, and containerd takes only one of the two")
			remove(c.merged, in(criImages, "registry", "mirrors")...)
			return
		}
	}
	put(c.merged, "", path...)
}

// checkSnapshotters has the importer make the sandbox's image one for any snapshotter
// where a runtime has one of its own: the sandboxes of its pods are there, too.
func (c *checker) checkSnapshotters() {
	own, _ := lookup(c.merged, in(criImages, "snapshotter")...)
	for _, path := range [][]string{runtimes("snapshotter"), in(criImages, "runtime_platforms", "*", "snapshotter")} {
		for _, path := range expand(c.merged, path) {
			if v, _ := lookup(c.merged, path...); v != "" && v != own {
				put(c.merged, true, in(importer, "portable_sandbox")...)
			}
		}
	}
}
