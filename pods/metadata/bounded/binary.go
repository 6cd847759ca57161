package bounded

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf8"

	goyaml "go.yaml.in/yaml/v2"

	"kios/pods/lazyregexp"
)

// mark begins a text that stands for bytes that are none: base64 follows.
const mark = "\x00!!binary "

// Binary prepares a text of YAML that may have values of the type !!binary, such as files
// that are packed with gzip: those that are no text become one, of which BytesOf makes the
// bytes again. JSON, to which YAML is converted, has no bytes.
func Binary(text []byte) ([]byte, error) {
	if !bytes.Contains(text, []byte("!!binary")) {
		return text, nil
	}
	tree, err := parse(text)
	if err != nil {
		return nil, err
	}
	tree = marked(tree)
	left := maxTree
	if err := count(tree, &left); err != nil {
		return nil, err
	}
	return goyaml.Marshal(tree)
}

// maxAliases is how often texts with values of the type !!binary may use aliases.
const maxAliases = 8

var (
	// mayBeBinary matches all spellings of the type: as it is, with another name, or with
	// letters as %62.
	mayBeBinary = lazyregexp.New(`binary|%TAG|!\S*%`)
	alias       = lazyregexp.New(`(?:^|[\s\[{,:])\*[\w-]`)
)

// parse parses a text of YAML.
func parse(text []byte) (tree any, err error) {
	if err := check(text); err != nil {
		return nil, err
	}
	if err := goyaml.Unmarshal(text, &tree); err != nil {
		return nil, inYAML(text, err)
	}
	return tree, nil
}

// check refuses a text before a parser makes something large of it. All aliases to a text
// share it, but the parser decodes a value of the type !!binary once more for each: 100 KB of
// text could take gigabytes before anybody counts what they stand for.
func check(text []byte) error {
	if IsMarkedUTF16(text) {
		return ErrUTF16
	}
	if err := checkSize(text); err != nil {
		return err
	}
	if mayBeBinary().Match(text) && len(alias().FindAllIndex(text, maxAliases+1)) > maxAliases {
		return errors.New("it has too many YAML aliases beside values of the type !!binary: write out what *NAME stands for")
	}
	return checkAliases(text)
}

// ErrUTF16 is about a text as Windows writes it.
var ErrUTF16 = errors.New("it is text in UTF-16: save it as UTF-8")

// IsMarkedUTF16 finds one that begins with the mark of its order.
func IsMarkedUTF16(text []byte) bool {
	return bytes.HasPrefix(text, []byte{0xff, 0xfe}) || bytes.HasPrefix(text, []byte{0xfe, 0xff})
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
