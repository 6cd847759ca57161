package cloudconfig

import (
	"errors"
	"fmt"
	"strings"

	"kios/pods/lazyregexp"
	"kios/pods/metadata/bounded"
)

var (
	// header is the line that makes a template of a text; see cloud-init, instance data.
	header = lazyregexp.New(`^(?:\x{feff})?\s*##\s*template:\s*(\S+)[^\n]*\n?`)
	// reference is a name of instance data, as a.b and a.b["c"].
	reference = lazyregexp.New(`^\{\{-?\s*([A-Za-z_]\w*(?:\.\w+|\[(?:"[^"\n\]]*"|'[^'\n\]]*')\])*)\s*-?\}\}`)
	// subscript is the other spelling of .name.
	subscript = lazyregexp.New(`\[["']([^\]]*)["']\]`)
)

// render fills in the names of a template. A name that nobody knows is an error, where
// jinja has a text for it that names no machine.
func render(text []byte, values map[string]string) ([]byte, error) {
	m := header().FindSubmatch(text)
	if m == nil {
		return text, nil
	}
	if string(m[1]) != "jinja" {
		return nil, fmt.Errorf("it is a template of the kind %.60q: only jinja is read", m[1])
	}
	t := template{rest: string(text[len(m[0]):]), values: values}
	for t.next() {
	}
	return []byte(t.out.String()), t.err
}

// template is one that is being filled in.
type template struct {
	rest   string
	values map[string]string
	out    strings.Builder
	err    error
}

// next fills in the first name that is left, and reports whether there may be more.
func (t *template) next() bool {
	i := strings.Index(t.rest, "{")
	if i < 0 || i+1 == len(t.rest) {
		t.out.WriteString(t.rest)
		return false
	}
	t.out.WriteString(t.rest[:i])
	t.rest = t.rest[i:]
	switch t.rest[1] {
	case '{':
		return t.name()
	case '%', '#':
		t.err = fmt.Errorf("%.40q: of jinja, only names are read, as {{ ds.meta_data.local_hostname }}", t.rest)
		return false
	}
	t.out.WriteByte('{')
	t.rest = t.rest[1:]
	return true
}

// name fills in the name that comes first.
func (t *template) name() bool {
	m := reference().FindStringSubmatchIndex(t.rest)
	if m == nil {
		t.err = fmt.Errorf("%.40q: of jinja, only names are read, as {{ ds.meta_data.local_hostname }}", t.rest)
		return false
	}
	name := subscript().ReplaceAllString(t.rest[m[2]:m[3]], ".$1")
	value, found := t.lookup(name)
	if !found {
		t.err = fmt.Errorf("this machine has no %.100q, which the template asks for", name)
		return false
	}
	t.out.WriteString(value)
	t.rest = t.rest[m[1]:]
	if t.out.Len() > bounded.MaxText {
		t.err = errors.New("the template becomes too long")
	}
	return t.err == nil
}

// lookup finds a value. Names have _ where cloud-init's sources have -.
func (t *template) lookup(name string) (string, bool) {
	value, found := t.values[name]
	if !found {
		value, found = t.values[strings.ReplaceAll(name, "-", "_")]
	}
	return value, found
}
