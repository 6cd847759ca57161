package userconfig

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// tree is TOML as it is decoded without a type.
type tree = map[string]any

// lookup returns what is at path.
func lookup(t tree, path ...string) (any, bool) {
	var v any = t
	for _, key := range path {
		m, ok := v.(tree)
		if !ok {
			return nil, false
		}
		if v, ok = m[key]; !ok {
			return nil, false
		}
	}
	return v, true
}

// put sets what is at path, and makes the tables that lead there.
func put(t tree, v any, path ...string) {
	for _, key := range path[:len(path)-1] {
		next, ok := t[key].(tree)
		if !ok {
			next = tree{}
			t[key] = next
		}
		t = next
	}
	t[path[len(path)-1]] = v
}

// remove removes what is at path.
func remove(t tree, path ...string) {
	last := len(path) - 1
	if v, ok := lookup(t, path[:last]...); ok {
		if m, ok := v.(tree); ok {
			delete(m, path[last])
		}
	}
}

// clone copies tables, and shares values, which nobody changes.
func clone(t tree) tree {
	out := make(tree, len(t))
	for k, v := range t {
		if m, ok := v.(tree); ok {
			v = clone(m)
		}
		out[k] = v
	}
	return out
}

// leaf is a value that is no table, or an empty table.
type leaf struct {
	path  []string
	value any
}

// leaves lists all values of t, sorted by path.
func leaves(t tree, prefix ...string) []leaf {
	var out []leaf
	for _, k := range slices.Sorted(maps.Keys(t)) {
		path := append(slices.Clone(prefix), k)
		if m, ok := t[k].(tree); ok && len(m) > 0 {
			out = append(out, leaves(m, path...)...)
		} else {
			out = append(out, leaf{path, t[k]})
		}
	}
	return out
}

// expand returns the paths in t that match path, in which "*" is any key.
func expand(t tree, path []string) [][]string {
	at := slices.Index(path, "*")
	if at < 0 {
		if _, ok := lookup(t, path...); !ok {
			return nil
		}
		return [][]string{path}
	}
	v, _ := lookup(t, path[:at]...)
	m, _ := v.(tree)
	var out [][]string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, expand(t, slices.Concat(path[:at], []string{k}, path[at+1:]))...)
	}
	return out
}

// Bounds of what is looked at value by value, and of how often that is decoded.
const (
	maxLeaves = 1000
	maxTries  = 300
)

// dropped is a value that was left out, and why.
type dropped struct {
	leaf
	err error
}

// grow returns base with as much of t as valid accepts: all of it as a rule, or else
// what is accepted together with the values before it. One value may need another, so it
// goes on for as long as there is progress. base is accepted.
func grow(base, t tree, valid func(tree) error) (tree, []dropped) {
	err := valid(t)
	if err == nil {
		return t, nil
	}
	rest := leaves(t)
	if len(rest) > maxLeaves {
		return base, []dropped{{leaf{}, err}}
	}
	g := grower{got: clone(base), valid: valid}
	for {
		before := len(rest)
		g.failed = nil
		g.add(rest)
		if len(g.failed) == 0 || len(g.failed) == before || g.tries >= maxTries {
			return g.got, g.failed
		}
		rest = nil
		for _, d := range g.failed {
			rest = append(rest, d.leaf)
		}
	}
}

// grower is the state of grow.
type grower struct {
	got    tree
	valid  func(tree) error
	failed []dropped
	tries  int
}

// add adds values, or the halves of them, or each by itself: few are bad, as a rule, and
// each look at them costs. After maxTries those that were refused together are left out.
func (g *grower) add(values []leaf) {
	next := clone(g.got)
	for _, l := range values {
		put(next, l.value, l.path...)
	}
	g.tries++
	err := g.valid(next)
	switch {
	case err == nil:
		g.got = next
	case len(values) == 1 || g.tries >= maxTries:
		for _, l := range values {
			g.failed = append(g.failed, dropped{l, err})
		}
	default:
		g.add(values[:len(values)/2])
		g.add(values[len(values)/2:])
	}
}

// name is how a message calls what is at path. CRI's sections are left out where a key is
// named: older versions of the format have others.
func name(path []string) string {
	if len(path) < 2 || path[0] != "plugins" {
		return strings.Join(path, ".")
	}
	section, key := `[plugins."`+path[1]+`"]`, strings.Join(path[2:], ".")
	switch {
	case key == "":
		return section
	case slices.Contains([]string{criImages, criRuntime, criServer}, path[1]):
		return key
	}
	return section + " " + key
}

func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// isZero reports whether v is what a key that is not set decodes to.
func isZero(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	if r.Kind() == reflect.Slice || r.Kind() == reflect.Map {
		return r.Len() == 0
	}
	return r.IsZero()
}
