package userconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// part is a field of a document, or a key of one that is a map.
type part struct {
	doc   *document
	path  []string
	value any
	why   error // why it was not good when it was tried by itself, nil for one that was not tried
}

// mend leaves in the documents what is good of all of them together. The rest costs a note
// for each part. It starts with nothing and adds parts, so a fault that hides others does
// not matter, and of two that exclude each other the later one goes.
func (c *checker) mend(docs []*document) error {
	parts := takeApart(docs)
	for opened := true; opened && c.work < maxSearch; {
		parts = c.addAll(docs, parts)
		parts, opened = open(parts)
	}
	for _, d := range docs {
		d.noteBad(slices.DeleteFunc(slices.Clone(parts), func(p *part) bool { return p.doc != d }))
	}
	return c.take(docs...)
}

// noteBad notes parts of a document that are left out.
func (d *document) noteBad(parts []*part) {
	var untried []string
	for _, p := range parts {
		name := strings.Join(p.path, ".")
		if p.why == nil {
			untried = append(untried, name)
			continue
		}
		d.note("ignoring %s: %s", name, oneLine(p.why))
	}
	if len(untried) > 0 {
		d.note("ignoring %s", oneLine(fmt.Errorf("what was not looked at, as the files have very many faults (mend those of the other lines first): %s", strings.Join(untried, ", "))))
	}
}

// takeApart takes all fields out of the documents. The feature gates are the first: where a
// gate and a field exclude each other, the gate is what may have other uses.
func takeApart(docs []*document) []*part {
	var gates, fields []*part
	for _, d := range docs {
		for _, name := range slices.Sorted(maps.Keys(d.fields)) {
			p := &part{doc: d, path: []string{name}, value: d.fields[name]}
			switch name {
			case "apiVersion", "kind":
			case "featureGates":
				gates = append(gates, p)
			default:
				fields = append(fields, p)
			}
		}
		d.fields = withHead(nil)
	}
	return append(gates, fields...)
}

// addAll adds what is good of the parts, and returns the others. One may need another that
// comes later, so it goes on for as long as there is progress.
func (c *checker) addAll(docs []*document, parts []*part) []*part {
	for before := len(parts) + 1; 0 < len(parts) && len(parts) < before; {
		before = len(parts)
		parts = c.add(docs, parts)
	}
	return parts
}

// add tries the parts together and, where that is not good, each half of them: a few bad
// ones among many are found with few tries.
func (c *checker) add(docs []*document, parts []*part) (bad []*part) {
	if c.work > maxSearch {
		return parts
	}
	for _, p := range parts {
		put(p.doc.fields, p.path, p.value)
	}
	errs := c.try(docs...).errs
	if len(errs) == 0 {
		return nil
	}
	for _, p := range parts {
		remove(p.doc.fields, p.path)
	}
	half := len(parts) / 2
	if half == 0 {
		parts[0].why = errors.Join(errs...)
		return parts
	}
	return slices.Concat(c.add(docs, parts[:half]), c.add(docs, parts[half:]))
}

// maxSearch bounds the search for what is bad, in bytes of JSON that are looked at: it takes
// a second, and finds a hundred bad fields.
const maxSearch = 3 << 20

// maxKeys bounds of how many keys of a field each is tried by itself.
const maxKeys = 64

// open puts their keys in the place of parts that are maps.
func open(parts []*part) (all []*part, opened bool) {
	for _, p := range parts {
		keys, ok := p.value.(map[string]any)
		if !ok || len(keys) == 0 || len(keys) > maxKeys {
			all = append(all, p)
			continue
		}
		opened = true
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			all = append(all, &part{doc: p.doc, path: append(slices.Clone(p.path), key), value: keys[key]})
		}
	}
	return all, opened
}

func put(in map[string]any, path []string, value any) {
	name := path[0]
	if len(path) == 1 {
		in[name] = value
		return
	}
	if in[name] == nil {
		in[name] = map[string]any{}
	}
	put(in[name].(map[string]any), path[1:], value)
}

// remove leaves no map without keys.
func remove(in map[string]any, path []string) {
	if inner, ok := in[path[0]].(map[string]any); ok && len(path) > 1 {
		remove(inner, path[1:])
		if len(inner) > 0 {
			return
		}
	}
	delete(in, path[0])
}

// dropMisfits removes what is of another type than the kubelet's.
func (c *checker) dropMisfits(d *document) error {
	if c.fits(d.fields) == nil {
		return nil
	}
	c.dropMisfitsIn(d, d.fields, func(m map[string]any) map[string]any { return withHead(m) })
	return c.fits(d.fields)
}

// dropMisfitsIn looks at each key of a map by itself. Whole makes a document of a map in
// its place.
func (c *checker) dropMisfitsIn(d *document, in map[string]any, whole func(map[string]any) map[string]any, path ...string) {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		alone := func(value any) map[string]any { return whole(map[string]any{name: value}) }
		err := c.fits(alone(in[name]))
		if err == nil {
			continue
		}
		path := append(slices.Clone(path), name)
		inner, ok := in[name].(map[string]any)
		if !ok || len(inner) > maxKeys || c.fits(alone(map[string]any{})) != nil {
			delete(in, name)
			d.note("ignoring %s: %s", strings.Join(path, "."), oneLine(err))
			continue
		}
		c.dropMisfitsIn(d, inner, func(m map[string]any) map[string]any { return alone(m) }, path...)
		if err := c.fits(alone(inner)); err != nil {
			delete(in, name)
			d.note("ignoring %s: %s", strings.Join(path, "."), oneLine(err))
		}
	}
}

// fits reports why the kubelet would not decode fields. Nothing is defaulted: there the
// kubelet panics at a feature gate that needs another, which another file may have.
func (c *checker) fits(fields map[string]any) (err error) {
	defer func() { // as in read
		if p := recover(); p != nil {
			err = fmt.Errorf("the kubelet cannot take it: %v", p)
		}
	}()
	data, err := json.Marshal(fields)
	if err == nil {
		_, _, err = c.codecs.UniversalDeserializer().Decode(data, nil, nil)
	}
	return err
}
