package userconfig

import (
	"fmt"
	"slices"
)

// Keys that containerd takes no notice of: those that it does not know, most often for a
// typo, and those that are lost when it brings a file of an older version up to date. It
// says nothing of most of them.

// maxUnused bounds the keys that are named.
const maxUnused = 16

// sayUnused names a key that has no effect, unless it has none for other reasons, too.
func (c *checker) sayUnused(file string, l leaf, reason string) {
	if saysNothing(l) {
		return
	}
	if isCDI(l) {
		reason = "CDI is always on"
	}
	if c.unused++; c.unused <= maxUnused {
		c.sayOf(file, l.path, public(l.value), reason)
	}
}

// public keeps texts out of a message: what is in the wrong place may be a password.
func public(value any) any {
	switch value.(type) {
	case bool, int64, float64:
		return value
	}
	return tree{}
}

// sayMoreUnused counts those that were not named.
func (c *checker) sayMoreUnused() {
	if more := c.unused - maxUnused; more > 0 {
		c.lines = append(c.lines, fmt.Sprintf("%s: %d more keys, in this file or in those that it imports, are not used", c.user[0].path, more))
	}
}

// isCDI finds the key that older versions had for CDI. Now nothing switches it off.
func isCDI(l leaf) bool { return l.path[len(l.path)-1] == "enable_cdi" }

// saysNothing reports whether a key means what is so without it.
func saysNothing(l leaf) bool {
	if t, ok := l.value.(tree); ok {
		return !slices.ContainsFunc(leaves(t), func(l leaf) bool { return !saysNothing(l) })
	}
	if isCDI(l) {
		return l.value == true
	}
	return isZero(l.value)
}
