package userconfig

import (
	"path/filepath"
	"slices"
	"strings"
)

const runcType = "io.containerd.runc.v2"

// Runtimes is where users put programs of other runtimes: on the data partition if there is
// one, with the right to be executed.
const Runtimes = "/opt/kios/bin"

// Path is where containerd and shims look for programs of runtimes.
const Path = "/bin:" + Runtimes

// checkRuntimes makes runc usable, which the system's pods run with, and has pods that
// name no RuntimeClass run with a runtime whose programs are there. Other runtimes may
// come later, when a pod has installed them.
func (c *checker) checkRuntimes() {
	runc := in(criRuntime, "containerd", "runtimes", "runc")
	for _, key := range [][]string{{"runtime_type"}, {"runtime_path"}, {"options", "BinaryName"}} {
		path := slices.Concat(runc, key)
		value, ok := lookup(c.merged, path...)
		missing := c.missing("runc")
		switch {
		case !ok || asNode(c, value, path):
		case value == "": // PATH has it, but only of the node's own is known what it can
			c.setBack(path)
		case missing != "":
			c.say(path, value, missing)
			c.setBack(path)
		}
	}
	path := in(criRuntime, "containerd", "default_runtime_name")
	value, _ := lookup(c.merged, path...)
	handler, _ := value.(string)
	missing := c.missing(handler)
	if missing == "" || asNode(c, value, path) {
		return
	}
	if handler != "" {
		c.say(path, value, missing+": put it into "+Runtimes)
	}
	c.setBack(path)
}

// missing says what a runtime lacks, or "".
func (c *checker) missing(handler string) string {
	value, ok := lookup(c.merged, in(criRuntime, "containerd", "runtimes", handler)...)
	if !ok {
		return "[containerd.runtimes." + handler + "] is not on the node"
	}
	runtime, _ := value.(tree)
	kind, _ := runtime["runtime_type"].(string)
	shim, _ := runtime["runtime_path"].(string)
	if shim == "" {
		shim = shimName(kind)
	}
	if fault := c.fault(shim); fault != "" || kind != runcType {
		return fault
	}
	binary, _ := lookup(runtime, "options", "BinaryName")
	if name, _ := binary.(string); name != "" {
		return c.fault(name)
	}
	return ""
}

// shimName is what containerd calls the shim of a runtime.
func shimName(kind string) string {
	parts := strings.Split(kind, ".")
	if filepath.IsAbs(kind) || len(parts) < 2 {
		return kind
	}
	return "containerd-shim-" + parts[len(parts)-2] + "-" + parts[len(parts)-1]
}
