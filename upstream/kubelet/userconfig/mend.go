package userconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mend takes a document without what the kubelet would refuse, each with a note. It fails
// if the configuration is bad without anything of the document.
func (c *checker) mend(d *document) error {
	for {
		errs := c.try(d).errs
		if len(errs) == 0 {
			return c.take(d)
		}
		name, left := c.worst(d, errs)
		if name == "" {
			return c.rebuild(d)
		}
		c.reduce(d, d.fields, name, left)
	}
}

// worst returns the field without which there are the fewest faults, and these.
func (c *checker) worst(d *document, errs []error) (name string, left []error) {
	left = errs
	for _, field := range d.names() {
		without := &document{file: d.file, fields: maps.Clone(d.fields)}
		delete(without.fields, field)
		if e := c.try(without).errs; len(e) < len(left) {
			name, left = field, e
		}
	}
	return name, left
}

// names lists the fields. The feature gates are the last: where a gate and a field exclude
// each other, the gate is what may have other uses.
func (d *document) names() []string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(d.fields)), func(name string) bool {
		return name == "apiVersion" || name == "kind" || name == "featureGates"
	})
	if _, ok := d.fields["featureGates"]; ok {
		names = append(names, "featureGates")
	}
	return names
}

// maxKeys bounds of how many keys of a field each is tried by itself.
const maxKeys = 64

// reduce takes a field out of a document, or as little of it as will do: in is the map of
// the document that has it, at path. Left are the faults without it.
func (c *checker) reduce(d *document, in map[string]any, name string, left []error, path ...string) {
	value, path := in[name], append(slices.Clone(path), name)
	why := without(c.try(d).errs, left)
	delete(in, name)
	keys, ok := value.(map[string]any)
	if !ok || len(keys) == 0 || len(keys) > maxKeys {
		d.note("ignoring %s: %s", strings.Join(path, "."), oneLine(errors.Join(why...)))
		return
	}
	kept := map[string]any{}
	in[name] = kept
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		kept[key] = keys[key]
		if len(c.try(d).errs) > len(left) {
			c.reduce(d, kept, key, left, path...)
		}
	}
	if len(kept) == 0 {
		delete(in, name)
	}
}

// without returns the errors that are not among others.
func without(errs, others []error) []error {
	return slices.DeleteFunc(slices.Clone(errs), func(err error) bool {
		return slices.ContainsFunc(others, func(o error) bool { return o.Error() == err.Error() })
	})
}

// rebuild takes what is good of a document field by field, where it is bad without any
// single one: two of them may be at fault together. One may need another, so it goes on
// for as long as there is progress.
func (c *checker) rebuild(d *document) error {
	rest, names := d.fields, d.names()
	d.fields = withHead(nil)
	if err := c.take(d); err != nil {
		return err
	}
	why := map[string][]error{}
	for before := len(names) + 1; len(names) < before; {
		before = len(names)
		names = slices.DeleteFunc(names, func(name string) bool {
			d.fields[name] = rest[name]
			errs := c.try(d).errs
			if len(errs) > 0 {
				delete(d.fields, name)
				why[name] = errs
			}
			return len(errs) == 0
		})
	}
	for _, name := range names {
		d.note("ignoring %s: %s", name, oneLine(errors.Join(why[name]...)))
	}
	return c.take(d)
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

// fits reports why the kubelet would not decode fields.
func (c *checker) fits(fields map[string]any) (err error) {
	defer func() { // as in read
		if p := recover(); p != nil {
			err = fmt.Errorf("the kubelet cannot take it: %v", p)
		}
	}()
	data, err := json.Marshal(fields)
	if err == nil {
		_, err = c.parse(data)
	}
	return err
}
