// Package settings reads the small YAML files in /etc/kios with which a user
// tells a system pod what to do. It is strict, because a typing mistake that is
// silently ignored costs an evening: an unknown field, a value of the wrong type
// and a key that is there twice are errors, each in one line that names the file
// and the field. What the values mean is for the pods to check.
package settings

import (
	"bytes"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"kios/internal/userfile"
	"kios/pods/lazyregexp"
)

// maxSize is far more than any sensible file has.
const maxSize = userfile.Max

// Read reads the file at path into the struct that into points to, whose
// fields have json tags. A file that is missing, empty or holds comments only
// leaves into as it is. After an error into is to be thrown away.
func Read(path string, into any) error {
	text, err := userfile.ReadIfThere(path, maxSize)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return Parse(path, text, into)
}

// Parse is Read for a text; path is for messages.
func Parse(path string, text []byte, into any) error {
	if len(text) > maxSize {
		return fmt.Errorf("%s is longer than %d bytes", path, maxSize)
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return fmt.Errorf("%s is not YAML: it contains binary data", path)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		return fmt.Errorf("%s: %s", path, Explain(err))
	}
	return nil
}

var (
	unknownField = lazyregexp.New(`unknown field "([^"]*)"`)
	wrongType    = lazyregexp.New(`json: cannot unmarshal (\S+) into Go (?:struct field \S*?\.([\w.]+)|value) of type (\S+)`)
	duplicate    = lazyregexp.New(`line (\d+): key "([^"]*)" already set`)
	prefixes     = lazyregexp.New(`^(error (converting YAML to JSON|unmarshaling JSON): |while decoding JSON: |yaml: |json: )+`)
)

// Explain says what is wrong in the words of somebody who writes YAML.
func Explain(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if m := unknownField().FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("there is no field %q", m[1])
	}
	if m := duplicate().FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("line %s: %q is there twice", m[1], m[2])
	}
	if m := wrongType().FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("%s is %s, but must be %s", field(m[2]), withArticle(m[1]), kind(m[3]))
	}
	return Hint(prefixes().ReplaceAllString(text, ""))
}

func withArticle(noun string) string {
	if strings.IndexByte("aeiou", noun[0]) >= 0 {
		return "an " + noun
	}
	return "a " + noun
}

const badIndent = "this line or the one before is indented too far or too little"

// hints say what a mistake most often is of which the parser has seen the consequence.
var hints = []struct{ of, hint string }{
	{"did not find expected key", badIndent},
	{"did not find expected '-' indicator", badIndent},
	{"mapping values are not allowed in this context", badIndent + ", or a text with ': ' in it needs quotes"},
	{"could not find expected ':'", "after the name of a field come a colon and a space; text in several lines is indented deeper than its field"},
	{"found character that cannot start any token", "a tab does not indent, spaces do; a text that begins with @, % or ` needs quotes"},
	{"found a tab character", "a tab does not indent, spaces do"},
}

// Hint adds to an error of the YAML parser where to look.
func Hint(text string) string {
	for _, h := range hints {
		if strings.Contains(text, h.of) {
			return text + " (" + h.hint + ")"
		}
	}
	return text
}

func field(name string) string {
	if name == "" {
		return "the whole"
	}
	return "the field " + name
}

// kind names a Go type for people.
func kind(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.HasPrefix(goType, "map["):
		return "a map"
	case goType == "bool":
		return "true or false"
	case goType == "string":
		return "a string"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		return "a whole number"
	}
	return "a map of fields"
}
