package bounded

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	goyaml "go.yaml.in/yaml/v2"

	"kios/pods/lazyregexp"
	"kios/pods/settings"
)

// maxUnknown are the fields that are named.
const maxUnknown = 32

// Known is YAML into a struct, and returns a sentence for each field that the struct does
// not have, which begins with the name of the document. An error says which field has a
// value of a wrong type.
func Known(name string, text []byte, into any) (unknown []string, err error) {
	var doc map[string]any
	if err := YAML(text, &doc); err != nil {
		return nil, err
	}
	unknown = sentences(name, prune(doc, reflect.TypeOf(into).Elem(), ""))
	unknown = append(unknown, Remarks(name, text)...)
	plain, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	if err := settings.Parse(name, plain, into); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), name+": "))
	}
	return unknown, nil
}

// Remarks returns a sentence for each thing in a text of YAML that does not count, and is
// easily overlooked: a second document, and the first one of two fields with the same name.
func Remarks(name string, text []byte) (lines []string) {
	if several(text) {
		lines = append(lines, name+`: "---" and what follows it are not used`)
	}
	for i, twice := range duplicates(text) {
		if i == maxUnknown {
			return append(lines, name+": there are more fields that are there twice")
		}
		lines = append(lines, name+": "+twice)
	}
	return lines
}

var twice = lazyregexp.New(`^line (\d+): key "(.*)" already set in map$`)

// duplicates finds fields that are there twice. Those that a merge (<<) brings are meant to be.
func duplicates(text []byte) (lines []string) {
	if check(text) != nil || bytes.Contains(text, []byte("<<")) {
		return nil
	}
	wrong, _ := errors.AsType[*goyaml.TypeError](goyaml.UnmarshalStrict(text, new(any)))
	if wrong == nil {
		return nil
	}
	for _, line := range wrong.Errors {
		if m := twice().FindStringSubmatch(line); m != nil {
			lines = append(lines, fmt.Sprintf("line %s: the field %.100q is there twice: the last one counts", m[1], m[2]))
		}
	}
	return lines
}

func sentences(name string, fields []string) []string {
	var lines []string
	for i, field := range fields {
		if i == maxUnknown {
			return append(lines, fmt.Sprintf("%s: %d more fields are unknown", name, len(fields)-i))
		}
		lines = append(lines, fmt.Sprintf("%s: the field %.200q is unknown", name, field))
	}
	return lines
}

// prune removes the fields that a type does not have, and returns their paths.
func prune(fields map[string]any, t reflect.Type, path string) (unknown []string) {
	known := fieldsOf(t)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		at, there := known[name]
		if !there {
			delete(fields, name)
			unknown = append(unknown, path+name)
			continue
		}
		unknown = append(unknown, pruneValue(fields[name], at, path+name+".")...)
	}
	return unknown
}

// pruneValue looks into a value that is a struct, or a list of them.
func pruneValue(value any, t reflect.Type, path string) (unknown []string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := value.(type) {
	case map[string]any:
		if t.Kind() == reflect.Struct {
			return prune(v, t, path)
		}
	case []any:
		if t.Kind() == reflect.Slice {
			for _, item := range v {
				unknown = append(unknown, pruneValue(item, t.Elem(), path)...)
			}
		}
	}
	return unknown
}

// fieldsOf returns the types of a struct's fields by their names in documents.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	known := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		if name := f.Tag.Get("json"); name != "" {
			known[name] = f.Type
		}
	}
	return known
}

var (
	separator = lazyregexp.New(`(?m)^---(\s|$)`)
	content   = lazyregexp.New(`(?m)^[ \t]*[^#\s]`)
)

// several reports whether a text has more than the one document that is read.
func several(text []byte) bool {
	documents := 0
	for _, doc := range separator().Split(string(text), -1) {
		if content().MatchString(doc) {
			documents++
		}
	}
	return documents > 1
}
