package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"kios/pods/metadata/bounded"
)

// document is what a cloud says, as JSON would have it.
type document map[string]any

const (
	maxDocument = 512 << 10 // with user data in it, in some clouds
	maxYAML     = 64 << 10
	maxItems    = 64 // of a list that are looked at
)

func parseJSON(text []byte) (document, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // ids have more digits than a float64 holds
	var d document
	if err := decoder.Decode(&d); err != nil {
		return nil, fmt.Errorf("the answer is not the JSON that it has to be: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the answer is not the JSON that it has to be: there is more behind its end")
	}
	return d, nil
}

func parseYAML(text []byte) (document, error) {
	if len(text) > maxYAML {
		return nil, fmt.Errorf("it has %d bytes, and at most %d are read", len(text), maxYAML)
	}
	var asJSON json.RawMessage
	if err := bounded.YAML(text, &asJSON); err != nil {
		return nil, fmt.Errorf("it is not the YAML that it has to be: %w", err)
	}
	if len(asJSON) == 0 || string(asJSON) == "null" {
		return document{}, nil
	}
	return parseJSON(asJSON)
}

// values returns the texts at a path of names between dots, where * stands for all items
// of a list or map. Of paths with | between them, the first that leads somewhere counts.
func (d document) values(paths string) []string {
	for path := range strings.SplitSeq(paths, "|") {
		if found := walk(map[string]any(d), strings.Split(path, ".")); len(found) > 0 {
			return found
		}
	}
	return nil
}

// value returns the first of values, or "".
func (d document) value(paths string) string {
	if found := d.values(paths); len(found) > 0 {
		return found[0]
	}
	return ""
}

func walk(value any, path []string) []string {
	if len(path) == 0 {
		return leaf(value)
	}
	var found []string
	for _, item := range items(value, path[0]) {
		found = append(found, walk(item, path[1:])...)
	}
	return found
}

// items returns those of a list or map that a word of a path means.
func items(value any, word string) []any {
	m, isMap := value.(map[string]any)
	list, _ := value.([]any)
	switch {
	case isMap && word != "*":
		return []any{m[word]}
	case isMap:
		for _, key := range slices.Sorted(maps.Keys(m)) {
			list = append(list, m[key])
		}
	case word != "*":
		return nil
	}
	return list[:min(len(list), maxItems)]
}

// leaf returns a value as text, if it is one and not empty.
func leaf(value any) []string {
	var text string
	switch v := value.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	case bool:
		text = fmt.Sprint(v)
	}
	if text == "" {
		return nil
	}
	return []string{text}
}

// set puts a value at a path of names between slashes.
func (d document) set(path, value string) {
	names := strings.Split(path, "/")
	at := map[string]any(d)
	for _, name := range names[:len(names)-1] {
		next, ok := at[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[name] = next
		}
		at = next
	}
	at[names[len(names)-1]] = value
}
