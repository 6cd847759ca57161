package bounded

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	goyaml "go.yaml.in/yaml/v2"
)

// mark begins a text that stands for bytes that are none: base64 follows.
const mark = "\x00!!binary "

// Binary prepares a text of YAML that may have values of the type !!binary, such as files
// that are packed with gzip: those that are no text become one, of which BytesOf makes the
// bytes again. JSON, to which YAML is converted, has no bytes.
func Binary(text []byte) ([]byte, error) {
	if !bytes.Contains(text, []byte("!!binary")) || len(text) > MaxText {
		return text, nil
	}
	var tree any
	if err := goyaml.Unmarshal(text, &tree); err != nil {
		return nil, inYAML(text, err)
	}
	tree = marked(tree)
	left := maxTree
	if err := count(tree, &left); err != nil {
		return nil, err
	}
	return goyaml.Marshal(tree)
}

// marked changes lists and maps in their place: aliases of one stay one.
func marked(value any) any {
	switch v := value.(type) {
	case string:
		if !utf8.ValidString(v) {
			return mark + base64.StdEncoding.EncodeToString([]byte(v))
		}
	case []any:
		for i := range v {
			v[i] = marked(v[i])
		}
	case map[any]any:
		for key := range v {
			v[key] = marked(v[key])
		}
	}
	return value
}

// BytesOf returns the bytes that a value of a text from Binary stands for.
func BytesOf(s string) []byte {
	if packed, found := strings.CutPrefix(s, mark); found {
		if data, err := base64.StdEncoding.DecodeString(packed); err == nil {
			return data
		}
	}
	return []byte(s)
}
