// Package bounded unpacks and parses what user data are made of: gzip, base64 and YAML. A
// few bytes of gzip, or a few aliases of YAML, can stand for more than a machine has
// memory; here each has a bound.
package bounded

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	"kios/pods/lazyregexp"
	"kios/pods/settings"
)

const (
	// MaxText is how long a text of YAML or JSON may be, in bytes.
	MaxText = 1 << 20
	// maxTree is how long the same text may be once its aliases are replaced by what
	// they stand for.
	maxTree = 4 << 20
	// nodeSize is what a value counts for beside its text.
	nodeSize = 8
)

// IsGzip reports whether data begin as gzip does.
func IsGzip(data []byte) bool { return bytes.HasPrefix(data, []byte{0x1f, 0x8b}) }

// Gunzip returns what data become, if these are at most *left bytes. It takes those that it
// unpacks off *left, also if it returns an error.
func Gunzip(data []byte, left *int) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, errDamaged(err)
	}
	var out bytes.Buffer
	limit := max(*left, 0)
	n, err := io.Copy(&out, io.LimitReader(r, int64(limit)+1))
	*left -= int(n)
	if err != nil {
		return nil, errDamaged(err)
	}
	if *left < 0 {
		return nil, fmt.Errorf("gzip unpacks to more than the %d bytes that are left for it: send less", limit)
	}
	return out.Bytes(), nil
}

func errDamaged(err error) error {
	return fmt.Errorf("it cannot be unpacked with gzip, as it is none, cut off, or has more behind it: %w", err)
}

// Base64 decodes text, which may be in lines. It takes what encoders in use make: with the
// letters of the standard or those of URLs, with padding or without.
func Base64(text []byte) ([]byte, error) {
	text = bytes.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n', '=':
			return -1
		case '-':
			return '+'
		case '_':
			return '/'
		}
		return r
	}, text)
	return base64.RawStdEncoding.AppendDecode(nil, text)
}

// YAML parses a text of YAML or JSON into what into points to, whose fields have json tags.
// It is not strict: fields that nobody knows are left out.
func YAML(text []byte, into any) error {
	tree, err := parse(text)
	if err != nil {
		return err
	}
	left := maxTree
	if err := count(tree, &left); err != nil {
		return err
	}
	tree = nil // before the same is parsed once more
	if err := yaml.Unmarshal(text, into); err != nil {
		return inYAML(text, errors.New(settings.Explain(err)))
	}
	return nil
}

// quoting are those errors of the parser that repeat the text, which may be secret: a
// password that begins with a * is an alias to it.
var quoting = []struct {
	form func() *regexp.Regexp
	with string
}{
	{lazyregexp.New(`unknown anchor '(.*)' referenced`), "an alias has no anchor: put quotes around a text that begins with *"},
	{lazyregexp.New(`anchor '.*' value contains itself`), "an anchor contains itself"},
	{lazyregexp.New(`invalid map key: .*`), "a list or map is in place of a key: put quotes around a text that begins with [ or {"},
	{lazyregexp.New("cannot decode (\\S+) `.*` as a (\\S+)"), "a value is of the type $1, and cannot be $2"},
	{lazyregexp.New("cannot unmarshal (\\S+) `.*` into"), "cannot unmarshal $1 into"},
}

// inYAML is an error of the parser for a log.
func inYAML(text []byte, err error) error {
	line := strings.Join(strings.Fields(err.Error()), " ")
	where := ""
	for _, q := range quoting {
		m := q.form().FindStringSubmatch(line)
		if len(m) == 2 { // the parser does not say where
			at := bytes.Index(text, []byte("*"+m[1]))
			where = position(text, int64(at+1)) + ": "
		}
		line = q.form().ReplaceAllString(line, q.with)
	}
	return errors.New(where + settings.Hint(line))
}

// count takes what a value would be as JSON off left. (The parser counts values, but not how
// long those are that aliases stand for.)
func count(value any, left *int) error {
	if *left -= nodeSize; *left < 0 {
		return fmt.Errorf("its values, with those that aliases stand for, are more than %d bytes: send less", maxTree)
	}
	switch v := value.(type) {
	case string:
		return countText(v, left)
	case []any:
		return countList(v, left)
	case map[any]any:
		return countMap(v, left)
	}
	return nil
}

func countText(s string, left *int) error {
	if !utf8.ValidString(s) {
		return errors.New("it has text that is not UTF-8: write binary data as text of base64, with encoding: b64, in place of !!binary")
	}
	*left -= len(s)
	return nil
}

func countList(list []any, left *int) error {
	for _, item := range list {
		if err := count(item, left); err != nil {
			return err
		}
	}
	return nil
}

func countMap(m map[any]any, left *int) error {
	for key, item := range m {
		if err := cmp.Or(count(key, left), count(item, left)); err != nil {
			return err
		}
	}
	return nil
}
