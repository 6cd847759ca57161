// Package yamldoc reads a document of YAML or JSON that a stranger may have written, into
// the types that encoding/json has, with bounds of size, depth, and of what aliases unfold
// to. Keys may be unknown and there twice (the last one counts), as with the readers that
// such documents were written for.
package yamldoc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v2"
)

// Bounds of a document.
const (
	// Max is the most bytes of a text: far more than EC2 takes as user data (16 KiB).
	Max = 256 << 10
	// maxUnfolded are bytes of all values. The densest text of Max bytes without aliases
	// has less; an alias of a few bytes may stand for very many.
	maxUnfolded = 8 << 20
	maxDepth    = 64
	valueSize   = 16 // counts for each value, beside the bytes of a string
)

// Parse returns the first document of the text, which must be a map, and whether others
// follow. An empty one is nil.
func Parse(text []byte) (doc map[string]any, more bool, err error) {
	if len(text) > Max {
		return nil, false, fmt.Errorf("it has %d bytes, and more than %d are not read", len(text), Max)
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, false, errors.New("it is not YAML: it contains binary data")
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var raw any
	if err := dec.Decode(&raw); err != nil && !errors.Is(err, io.EOF) {
		return nil, false, explain(err)
	}
	var u unfolder
	value, err := u.value(raw, maxDepth)
	if err != nil {
		return nil, false, err
	}
	doc, ok := value.(map[string]any)
	if !ok && value != nil {
		return nil, false, fmt.Errorf("it is %s, and must be a map of fields", Kind(value))
	}
	return doc, another(dec), nil
}

// another reports whether there is a further document that is not empty.
func another(dec *yaml.Decoder) bool {
	var raw any
	err := dec.Decode(&raw)
	return err == nil && raw != nil
}

var prefix = regexp.MustCompile(`^(yaml: )(unmarshal errors:\s*)?`)

// explain makes a line of an error of the parser, which says in which line of the text.
func explain(err error) error {
	return errors.New(prefix.ReplaceAllString(strings.Join(strings.Fields(err.Error()), " "), ""))
}

// unfolder makes values of encoding/json of what the parser returns.
type unfolder struct{ size int }

func (u *unfolder) value(raw any, depth int) (any, error) {
	if depth == 0 {
		return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	if err := u.count(valueSize); err != nil {
		return nil, err
	}
	switch v := raw.(type) {
	case map[any]any:
		return u.fields(v, depth)
	case []any:
		return u.list(v, depth)
	case string:
		return v, u.count(len(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%v is not a number that can be used", v)
		}
	}
	return raw, nil
}

func (u *unfolder) count(bytes int) error {
	if u.size += bytes; u.size > maxUnfolded {
		return fmt.Errorf("its aliases unfold to more than %d bytes", maxUnfolded)
	}
	return nil
}

func (u *unfolder) list(raw []any, depth int) (any, error) {
	for i, v := range raw {
		value, err := u.value(v, depth-1)
		if err != nil {
			return nil, err
		}
		raw[i] = value
	}
	return raw, nil
}

func (u *unfolder) fields(raw map[any]any, depth int) (any, error) {
	fields := make(map[string]any, len(raw))
	for k, v := range raw {
		name, err := u.key(k)
		if err != nil {
			return nil, err
		}
		if fields[name], err = u.value(v, depth-1); err != nil {
			return nil, err
		}
	}
	return fields, nil
}

// key makes text of a number or a truth value, as Kubernetes' reader does.
func (u *unfolder) key(raw any) (string, error) {
	switch k := raw.(type) {
	case string:
		return k, u.count(len(k))
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(k), nil
	}
	return "", fmt.Errorf("a key is %s, and must be a string", Kind(raw))
}

// Kind names the type of a value for people.
func Kind(value any) string {
	switch value.(type) {
	case nil:
		return "nothing"
	case map[string]any, map[any]any:
		return "a map of fields"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "true or false"
	}
	return "a number"
}
