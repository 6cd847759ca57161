package yamldoc

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"kios/pods/settings"
)

// maxUnknown are the fields that are named.
const maxUnknown = 32

// Decode reads the first document of a text into the struct that into points to, whose
// fields have json tags. Fields that the struct does not have are no error, but each is
// named in a sentence. A value of a wrong type is one, which says which field has it;
// name is for messages.
func Decode(name string, text []byte, into any) (unknown []string, err error) {
	doc, more, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	unknown = sentences(name, prune(doc, reflect.TypeOf(into).Elem(), ""))
	if more {
		unknown = append(unknown, name+`: "---" and what follows it are not used`)
	}
	plain, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return unknown, settings.Parse(name, plain, into)
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
		} else if inner, ok := fields[name].(map[string]any); ok && at.Kind() == reflect.Struct {
			unknown = append(unknown, prune(inner, at, path+name+".")...)
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
